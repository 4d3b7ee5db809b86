// Measures the server's page; the value is an object of results.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const size = (element) => element.getBoundingClientRect();
  const visible = (element) => size(element).width > 1 && size(element).height > 1;
  const text = (element) => (element && visible(element) ? element.textContent : null);
  const bar = (fill) => size(fill).width / size(fill.parentElement).width;
  const shown = shownTexts().filter(visible);
  return {
    ground: rgba(getComputedStyle(document.body).backgroundColor),
    width: document.documentElement.clientWidth,
    needed: document.documentElement.scrollWidth,
    camera: visible(document.querySelector(".camera")),
    spoken: document.getElementById("spoken").textContent,
    classes: document.getElementById("classes").textContent,
    texts: shown.length,
    pale: paleTexts(shown),
    small: shown.filter((element) => parseFloat(getComputedStyle(element).fontSize) < 12).map((element) => element.textContent),
    unnamed: all("input, button, img").filter((element) => visible(element) && !(element.labels?.length || element.textContent.trim() || element.alt)).length,
    cards: all("#answers > li").map((card) => ({
      name: text(card.querySelector(".name")),
      top: text(card.querySelector(".top")),
      note: text(card.querySelector(".note")),
      rows: all("tbody tr", card).filter(visible).map((row) => [...row.children].map(text).filter(Boolean)),
      bars: all(".fill", card).filter((fill) => visible(fill.parentElement)).map(bar),
      picture: all("img", card).some((image) => image.naturalWidth > 0 && size(image).width > 50),
    })),
  };
})()
