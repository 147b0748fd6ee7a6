// In the colours of the page: those that its reader chose, else those of the system.
const chosen = document.body.dataset.theme;
const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);

mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "default", flowchart: { useMaxWidth: false } });
mermaid.run().then(() => {
  // Two thirds of its size, at which it is still read; one that is larger than its frame shows its first node.
  for (const frame of document.querySelectorAll("pre.mermaid")) {
    const drawing = frame.querySelector("svg");
    const { width, height } = drawing.viewBox.baseVal;
    drawing.setAttribute("width", width * 2 / 3);
    drawing.setAttribute("height", height * 2 / 3);
    const node = frame.querySelector(".node").getBoundingClientRect();
    const { left } = frame.getBoundingClientRect();
    frame.scrollLeft += (node.left + node.right - frame.clientWidth) / 2 - left;
  }
});
