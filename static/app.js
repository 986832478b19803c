// The page's own behaviour: dialogs, toasts, type-aheads. Every page works without it.
import { offerChoices } from "./combobox.js";
import { offerCopies } from "./copy.js";
import { openDialogs } from "./dialog.js";
import { keepFocus } from "./focus.js";
import { showToasts } from "./toast.js";

offerChoices();
offerCopies();
keepFocus();
openDialogs();
showToasts();
