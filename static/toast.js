// Short good news in the live region. Errors never stand here alone.

const SECONDS = 5;

export function showToasts() {
  document.body.addEventListener("toast", (event) => say(event.detail?.text));
}

function say(text) {
  const region = document.getElementById("toasts");
  if (!region || !text) return;
  const toast = document.createElement("p");
  toast.className = "toast";
  toast.textContent = text;
  region.append(toast);
  setTimeout(() => toast.remove(), SECONDS * 1000);
}
