// Ticking changes: all on the page at once, those that go together, and how many are ticked.

const boxes = () => [...document.querySelectorAll("input[name=change]")];

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches("[data-tick-all]")) for (const each of boxes()) each.checked = box.checked;
  if (box.dataset.group) tickTogether(box);
  tell();
});

// Enter on a tick box would send the form.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input[name=change], [data-tick-all]")) event.preventDefault();
});

function tickTogether(box) {
  for (const each of boxes()) if (each.dataset.group === box.dataset.group) each.checked = box.checked;
}

function tell() {
  const count = boxes().filter((box) => box.checked).length;
  for (const place of document.querySelectorAll("[data-ticked]")) {
    place.textContent = count ? `${count} ticked` : "";
  }
}

function showTickAll() {
  for (const box of document.querySelectorAll("[data-tick-all]")) box.hidden = false;
}

new MutationObserver(showTickAll).observe(document.getElementById("main"), { childList: true, subtree: true });
showTickAll();
tell();
