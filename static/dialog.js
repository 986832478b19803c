// A dialog that htmx loads into #modal opens itself; closing it empties #modal again.
// showModal() gives the focus trap, Escape, and the return of the focus. What is to be focused first
// says data-focus: the browser itself minds autofocus only while nothing has the focus yet.

// What was focused before the first dialog; one dialog may replace another.
let opener = null;

export function openDialogs() {
  const place = document.getElementById("modal");
  if (!place) return;
  new MutationObserver(() => open(place)).observe(place, { childList: true });
  document.body.addEventListener("dialog:close", () => place.querySelector("dialog")?.close());
  document.body.addEventListener("htmx:after:swap", () => {
    const dialog = place.querySelector("dialog[open]");
    refocus(dialog);
    tell(dialog);
  });
}

function open(place) {
  const dialog = place.querySelector("dialog");
  if (!dialog || dialog.open) return;
  if (document.activeElement !== document.body) opener = document.activeElement;
  dialog.addEventListener("close", () => {
    place.replaceChildren();
    const back = opener?.isConnected ? opener : opener?.id && document.getElementById(opener.id);
    if (back) back.focus();
  });
  dialog.addEventListener("click", (event) => {
    if (!event.target.closest("[data-close]")) return;
    event.preventDefault();
    dialog.close();
  });
  dialog.showModal();
  const first = dialog.querySelector("[data-focus], article > :not(header) :is(input:not([type=hidden]), select, textarea, a, button)");
  first?.focus();
}

// The page lies behind the dialog, unseen and unheard: what went wrong is told in the dialog.
function tell(dialog) {
  const notice = dialog && document.querySelector("#notices > *");
  if (!notice) return;
  dialog.querySelector("article > .told")?.remove();
  notice.classList.add("told");
  notice.setAttribute("role", "alert");
  dialog.querySelector("article > header").after(notice);
}

// When a part of the dialog is replaced together with what had the focus, the new part says where.
function refocus(dialog) {
  if (!dialog || dialog.contains(document.activeElement)) return;
  dialog.querySelector("[data-focus]")?.focus();
}
