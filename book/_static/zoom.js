// A click on a figure shows it at full size over the page; without this script the link opens it.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.full-size");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  const dialog = document.createElement("dialog");
  dialog.className = "full-size-view";
  dialog.setAttribute("aria-label", "Figure at full size");
  const picture = link.querySelector("img").cloneNode();
  picture.removeAttribute("style");
  dialog.append(picture);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
  document.body.append(dialog);
  dialog.showModal();
});
