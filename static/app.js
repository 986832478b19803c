// The page's own behaviour: dialogs, toasts, type-aheads. Every page works without it.
import { openDialogs } from "./dialog.js";
import { showToasts } from "./toast.js";

openDialogs();
showToasts();
