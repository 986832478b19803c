// Type-aheads after the WAI-ARIA combobox pattern. The server sends the options, htmx asks for them
// (hx-get on the input), @github/combobox-nav does the keys; here they are put together.
//
//   <form class="combobox"> <input role="combobox" name="q" hx-get="..." hx-target="next [role=listbox]" ...>
//     <input type="hidden" name="item_id"> <ul role="listbox" popover="manual"></ul> </form>
//
// Choosing an option fills the hidden field with its data-value and sends the form. An option with
// data-dialog opens that dialog instead. Text that was not chosen goes back when the field is left.
import Combobox from "./vendor/combobox-nav.js";

const LEAST = 2;
const open = new WeakMap();
let live;
let numbered = 0;

export function offerChoices() {
  live = document.createElement("div");
  live.className = "visually-hidden";
  live.setAttribute("role", "status");
  document.body.append(live);
  const body = document.body;
  body.addEventListener("htmx:config:request", hold);
  body.addEventListener("htmx:after:swap", arrived);
  body.addEventListener("htmx:before:swap", outdated);
  body.addEventListener("keydown", key, true);
  body.addEventListener("focusout", left);
  body.addEventListener("combobox-commit", commit);
  body.addEventListener("pointerdown", (event) => {
    // The focus stays in the field while an option is clicked.
    if (event.target.closest?.(".combobox [role=listbox]")) event.preventDefault();
  });
  for (const moved of ["scroll", "resize"]) addEventListener(moved, place, true);
}

const inputOf = (element) => (element?.matches?.("input[role=combobox]") ? element : null);
const parentOf = (element) => element.closest(".combobox");
const listOf = (input) => parentOf(input)?.querySelector("[role=listbox]");
const optionsOf = (list) => [...list.querySelectorAll("[role=option]:not([aria-disabled=true])")];

// Fewer than two characters are not asked for; the server would not answer them either.
function hold(event) {
  const input = inputOf(event.detail?.ctx?.sourceElement);
  if (!input) return;
  if (input.value.trim().length >= LEAST && document.activeElement === input) return;
  event.preventDefault();
  close(input);
}

// An answer that comes after the field was left, or to a text that is gone, is not shown.
function outdated(event) {
  const input = inputOf(event.detail?.ctx?.sourceElement);
  if (!input) return;
  if (document.activeElement !== input || input.value.trim().length < LEAST) event.preventDefault();
}

function arrived(event) {
  const input = inputOf(event.detail?.ctx?.sourceElement);
  if (!input?.isConnected) return;
  const list = listOf(input);
  show(input, list);
  const found = optionsOf(list).filter((option) => option.dataset.value).length;
  say(found ? `${found} result${found === 1 ? "" : "s"}. Use the arrow keys.` : list.innerText.trim());
}

function show(input, list) {
  close(input);
  if (!list.childElementCount) return;
  list.id ||= `choices-${++numbered}`;
  list.setAttribute("aria-label", input.getAttribute("aria-label") || input.labels?.[0]?.textContent || "Choices");
  list.showPopover?.();
  list.hidden = false;
  const combobox = new Combobox(input, list, { tabInsertsSuggestions: false });
  combobox.start();
  open.set(input, combobox);
  place();
}

function close(input) {
  const list = listOf(input);
  open.get(input)?.stop();
  open.delete(input);
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
  if (list?.matches(":popover-open")) list.hidePopover();
  else if (list && !list.popover) list.hidden = true;
}

// The list lies over everything, below its field, or above it where there is no room below.
function place() {
  const input = inputOf(document.activeElement);
  if (!input || !open.has(input)) return;
  const list = listOf(input);
  const field = input.getBoundingClientRect();
  const below = innerHeight - field.bottom - 8;
  const above = field.top - 8;
  const up = below < Math.min(list.scrollHeight, 200) && above > below;
  list.style.maxHeight = `${Math.max(120, Math.min(352, up ? above : below))}px`;
  list.style.minWidth = `${field.width}px`;
  list.style.left = `${Math.max(8, Math.min(field.left, innerWidth - list.offsetWidth - 8))}px`;
  list.style.top = up ? `${field.top - list.offsetHeight - 2}px` : `${field.bottom + 2}px`;
}

function key(event) {
  const input = inputOf(event.target);
  if (!input) return;
  if (event.key === "Escape") escape(event, input);
  else if (event.key === "ArrowDown" && !open.has(input)) ask(event, input);
  else if (event.key === "ArrowUp" && event.altKey) close(input);
}

// The first Escape closes the list, the next puts the saved text back; neither closes a dialog.
function escape(event, input) {
  if (open.has(input)) close(input);
  else if (input.value !== input.defaultValue) input.value = input.defaultValue;
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function ask(event, input) {
  event.preventDefault();
  const list = listOf(input);
  if (input.value.trim().length >= LEAST) input.dispatchEvent(new Event("combobox:ask", { bubbles: true }));
  else if (list) say(`Type at least ${LEAST} characters.`);
}

function left(event) {
  const input = inputOf(event.target);
  if (!input) return;
  close(input);
  if (!parentOf(input)?.hasAttribute("data-keep")) input.value = input.defaultValue;
}

function commit(event) {
  const option = event.target;
  const input = inputOf(parentOf(option)?.querySelector("input[role=combobox]"));
  if (!input) return;
  close(input);
  if (option.dataset.dialog) openDialog(option, input);
  else choose(option, input);
}

function choose(option, input) {
  const form = input.form;
  input.value = option.dataset.text ?? option.textContent.trim();
  const field = parentOf(input).querySelector("input[type=hidden][data-chosen]");
  if (field) field.value = option.dataset.value;
  say(`${input.value} chosen.`);
  form?.requestSubmit();
}

function openDialog(option, input) {
  const address = new URL(option.dataset.dialog, location.href);
  const product = input.form?.elements.product?.value;
  if (product) address.searchParams.set("product", product);
  input.value = input.defaultValue;
  htmx.ajax("GET", address.pathname + address.search, { target: "#modal", swap: "innerHTML" });
}

function say(text) {
  live.textContent = text;
}
