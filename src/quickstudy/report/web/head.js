// The frame of every page, around its `sections`: drawn once, and again when the language changes.
function render() {
  document.documentElement.lang = state.language;
  document.getElementById("title").textContent = CONTENTS.title;
  subtitle();
  document.getElementById("made").textContent = word("made", { version: CONTENTS.version, date: CONTENTS.made });
  document.querySelector(".skip").textContent = word("skip");
  language.textContent = word("language");
  language.lang = word("otherLanguage");
  theme.textContent = word(dark() ? "light" : "dark");
  document
    .getElementById("main")
    .replaceChildren(...sections().filter((part) => part !== null));
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
