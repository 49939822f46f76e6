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
