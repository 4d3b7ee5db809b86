// Functions for colours, contrast and the visible texts of a page.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
// Relative luminance and contrast as WCAG 2 defines them.
const luminance = (color) => {
  const [r, g, b] = rgba(color).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return rgba(color)[3] > 0 || !element.parentElement ? color : ground(element.parentElement);
};
const contrast = (element) => {
  const style = getComputedStyle(element);
  const ink = element.ownerSVGElement ? style.fill : style.color;
  const [low, high] = [luminance(ink), luminance(ground(element))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const shownTexts = () => {
  const shown = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    if (node.data.trim() && !node.parentElement.closest("script, title")) shown.push(node.parentElement);
  }
  return shown;
};
const paleTexts = (shown) =>
  shown.filter((element) => contrast(element) < 4.5).map((element) => `${element.textContent}: ${contrast(element)}`);
