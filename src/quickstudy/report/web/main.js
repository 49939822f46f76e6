// The page as a whole: drawn once, and again when the language changes.
function render() {
  document.documentElement.lang = state.language;
  document.getElementById("title").textContent = CONTENTS.title;
  document.getElementById("subtitle").textContent = subtitle().join(" · ");
  document.getElementById("made").textContent = word("made", { version: CONTENTS.version, date: CONTENTS.made });
  document.querySelector(".skip").textContent = word("skip");
  language.textContent = word("language");
  language.lang = word("otherLanguage");
  theme.textContent = word(dark() ? "light" : "dark");
  const shown = PARTS.map((part) => part()).filter((part) => part !== null);
  document.getElementById("main").replaceChildren(...shown);
  const list = document.getElementById("contents-list");
  list.setAttribute("aria-label", word("contents"));
  list.hidden = shown.length < 3;
  list.replaceChildren(element("ul", {}, ...(list.hidden ? [] : shown.map(linkTo))));
}

// To a part of the page; in a notebook's frame an address would lead out of it.
function linkTo(part) {
  const go = (event) => {
    event.preventDefault();
    part.setAttribute("tabindex", "-1");
    part.focus({ preventScroll: true });
    part.scrollIntoView();
  };
  return element("li", {}, element("a", { href: `#${part.id}`, onclick: go }, part.querySelector("h2").textContent));
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const language = document.getElementById("language");
const theme = document.getElementById("theme");
language.addEventListener("click", () => {
  state.language = word("otherLanguage");
  render();
});
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  theme.textContent = word(dark() ? "light" : "dark");
});
render();
