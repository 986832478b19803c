// A dialog that htmx loads into #modal opens itself; closing it empties #modal again.
// showModal() gives the focus trap, Escape, and the return of the focus.

export function openDialogs() {
  const place = document.getElementById("modal");
  if (!place) return;
  new MutationObserver(() => open(place)).observe(place, { childList: true });
  document.body.addEventListener("dialog:close", () => place.querySelector("dialog")?.close());
}

function open(place) {
  const dialog = place.querySelector("dialog");
  if (!dialog || dialog.open) return;
  const back = document.activeElement;
  dialog.addEventListener("close", () => {
    place.replaceChildren();
    if (back?.isConnected) back.focus();
  });
  dialog.showModal();
  const first = dialog.querySelector("[autofocus], article > :not(header) :is(input:not([type=hidden]), select, textarea, a, button)");
  first?.focus();
}
