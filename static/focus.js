// When htmx replaces the row or the table in which the focus stands, it stays where it was: on the
// control of the same name in the same row, else on the row's first field, else on the table.

let lost = null;

export function keepFocus() {
  document.body.addEventListener("htmx:before:swap", remember);
  document.body.addEventListener("htmx:after:swap", restore);
}

function remember(event) {
  const target = event.detail?.ctx?.target;
  // A button that is disabled while it sends has lost the focus already.
  const nowhere = document.activeElement === document.body && target?.id === "products";
  const active = nowhere ? target : document.activeElement;
  const row = active?.closest("tbody tr");
  const area = active?.closest("#products");
  if (!area || !target?.contains?.(active)) return;
  lost = { area: area.id, key: keyOf(row), name: active.name };
}

function restore() {
  if (!lost || (document.activeElement && document.activeElement !== document.body)) return;
  const area = document.getElementById(lost.area);
  const row = [...(area?.querySelectorAll("tbody tr") ?? [])].find((each) => lost.key && keyOf(each) === lost.key);
  const same = lost.name && row?.querySelector(`[name="${CSS.escape(lost.name)}"]:not([type=hidden]):not(:disabled)`);
  const next = same || row?.querySelector("input:not([type=hidden]), button:not(:disabled), a");
  (next || area?.querySelector(".table[tabindex]"))?.focus({ preventScroll: Boolean(row) });
  lost = null;
}

const keyOf = (row) => row?.querySelector("input[name=product]")?.value;
