// Loads the page in frames of several widths and writes what it finds, a line a frame, into the document.
const widths = [400, 768, 1400];

function rgb(text) {
  const found = text.match(/rgba?\(([^)]+)\)/);
  if (!found) return null;
  const parts = found[1].split(/[ ,\/]+/).map(Number);
  return { r: parts[0], g: parts[1], b: parts[2], a: parts.length > 3 ? parts[3] : 1 };
}

function luminance(c) {
  const linear = [c.r, c.g, c.b].map((v) => {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function contrast(a, b) {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

function background(view, element) {
  for (let at = element; at; at = at.parentElement) {
    if (at.tagName === "svg") {
      const paper = at.querySelector("rect");
      const fill = paper && rgb(view.getComputedStyle(paper).fill);
      if (fill) return fill;
    }
    const colour = rgb(view.getComputedStyle(at).backgroundColor);
    if (colour && colour.a === 1) return colour;
  }
  return { r: 255, g: 255, b: 255, a: 1 };
}

function loads(source) {
  return new Promise((done) => {
    const image = new Image();
    image.onload = () => done(image.naturalWidth > 0);
    image.onerror = () => done(false);
    image.src = source;
  });
}

async function look(width) {
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.height = 900;
  const loaded = new Promise((done) => (frame.onload = done));
  frame.srcdoc = PAGE;
  document.body.append(frame);
  await loaded;
  const page = frame.contentDocument;
  const view = frame.contentWindow;
  page.querySelectorAll("details").forEach((part) => (part.open = true));
  const root = page.documentElement;
  const images = [...page.querySelectorAll("img, image")].map((of) => of.getAttribute("href") || of.src);
  const found = await Promise.all(images.map(loads));
  let least = 99, worst = "";
  let smallest = 99;
  for (const element of page.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    const box = element.getBoundingClientRect();
    if (!text || box.width === 0) continue;
    const style = view.getComputedStyle(element);
    const svg = element.closest("svg");
    const colour = rgb(svg ? style.fill : style.color);
    if (!colour) continue;
    const ratio = contrast(colour, background(view, element));
    if (ratio < least) [least, worst] = [ratio, element.tagName + " " + text.slice(0, 40)];
    if (svg) smallest = Math.min(smallest, (parseFloat(style.fontSize) * svg.getBoundingClientRect().width) / svg.viewBox.baseVal.width);
  }
  return [width, root.scrollWidth - root.clientWidth, found.filter(Boolean).length, images.length, least.toFixed(2),
    smallest.toFixed(1), worst].join("|");
}

(async () => {
  const lines = [];
  for (const width of widths) lines.push(await look(width));
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = lines.join("\n");
  document.body.replaceChildren(result);
})();
