// Measures a report in the browser and sends the results to the page around it. All tables are unfolded first.
addEventListener("load", () => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const size = (element) => element.getBoundingClientRect();
  const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
  const inside = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
  all("details").forEach((details) => (details.open = true));

  const shown = shownTexts();

  const chart = (svg) => {
    const within = (selector) => all(selector, svg).filter((mark) => size(mark).width > 0 && inside(size(mark), size(svg)));
    const texts = all("text", svg);
    return {
      title: svg.querySelector(":scope > title").textContent,
      width: size(svg).width,
      height: size(svg).height,
      marks: within(".mark").length,
      faint: within(".faint").length,
      errors: within(".error").length,
      lines: within(".line").length,
      keys: all("figcaption .key", svg.parentElement).length,
      rows: all("table tbody tr", svg.parentElement).length,
      letters: Math.min(...texts.map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)),
      cut: texts.filter((text) => !inside(size(text), size(svg))).map((text) => text.textContent),
      touching: texts.flatMap((a, k) => texts.slice(k + 1).filter((b) => !apart(size(a), size(b))).map((b) => a.textContent + "|" + b.textContent)),
    };
  };
  const bar = (span) => {
    const [cell, style] = [span.parentElement, getComputedStyle(span.parentElement)];
    const whole = size(cell).width - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    return [parseFloat(cell.textContent), size(span).width / whole];
  };
  const loaded = (image) => image.naturalWidth > 0 && size(image).width > 50 && image.alt !== "";

  parent.postMessage({
    name: window.name,
    headings: all("h1, h2").map((heading) => heading.textContent),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ground: rgba(getComputedStyle(document.body).backgroundColor),
    width: document.documentElement.clientWidth,
    needed: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    charts: all("figure > svg").map(chart),
    unnamed: all("svg:not([aria-hidden])").filter((svg) => svg.getAttribute("role") !== "img" || !svg.querySelector(":scope > title")).length,
    tables_without_header: all("table").filter((table) => !table.querySelector("th[scope=col]")).length,
    heat: all(".heat tbody tr").map((row) => all("td", row).map((cell) => Number(cell.textContent))),
    heat_grounds: new Set(all(".heat tbody td").map(ground)).size,
    bars: all(".bar").map(bar),
    images: all("img").length,
    loaded: all("img").filter(loaded).length,
    texts: shown.length,
    pale: paleTexts(shown),
    addresses: all("[src], [href]").map((element) => element.getAttribute("src") ?? element.getAttribute("href")).filter((address) => !address.startsWith("data:")),
    fetched: performance.getEntriesByType("resource").map((entry) => entry.name),
  }, "*");
});
