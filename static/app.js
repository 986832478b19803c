// The page's own behaviour: dialogs, toasts, type-aheads. Every page works without it.
import { offerChoices } from "./combobox.js";
import { openDialogs } from "./dialog.js";
import { keepFocus } from "./focus.js";
import { showToasts } from "./toast.js";

offerChoices();
keepFocus();
openDialogs();
showToasts();
