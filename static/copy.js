// Copying and printing what is shown once. Without JavaScript the buttons stay hidden.

export function offerCopies() {
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
  if (!navigator.clipboard) return; // browsers have one over https and on this machine only
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const text = "Copied.";
  document.body.dispatchEvent(new CustomEvent("toast", { detail: { text } }));
}
