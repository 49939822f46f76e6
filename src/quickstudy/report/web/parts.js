// Parts of which every picture is made. Text enters the page as text only, never as HTML.
const CONTENTS = JSON.parse(document.getElementById("contents").textContent);
const state = {
  language: navigator.language.startsWith("zh") ? "zh" : "en",
  stop: null,
  axis: "steps",
  metric: null,
  measure: "last",
  task: 0,
  trial: 0,
  pair: null,
  moment: Infinity,
  goal: true,
  step: null,
  foreseen: 0,
  learnt: "validation",
};

// How everyone is drawn: each method has its look, wherever it is shown. Validation is the learner's own, as training went on.
const LOOKS = {};
for (const [who, look] of Object.entries(CONTENTS.styles ?? {})) LOOKS[who] = { ...look, width: who === "learner" ? 2.5 : 2 };
if (LOOKS.learner) {
  document.documentElement.style.setProperty("--learner", LOOKS.learner.color);
  LOOKS.validation = { ...LOOKS.learner, width: 1.5, dash: "1,3", symbol: LOOKS.learner.symbol === "cross" ? "star" : "cross" };
}

function word(key, values = {}) {
  return WORDS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// How much of its budget a training has used up, in meta-iterations, environment steps or both.
function howFar() {
  const budgets = [["progress", "done", "iterations"], ["progressSteps", "lived", "most_steps"]];
  const count = (name) => CONTENTS[name].toLocaleString("en");
  return budgets
    .filter(([, , most]) => CONTENTS[most])
    .map(([key, far, most]) => word(key, { [far]: count(far), [most]: count(most) }));
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && (Math.abs(value) < 0.01 || Math.abs(value) >= 1e7))
    return d3.format(".3~g")(value).replace("-", "−");
  return d3.format(Math.abs(value) >= 1000 ? ",.0f" : ",.2f")(value);
}

// An interval; nothing where a single score has none.
function ends(low, high) {
  return low === null || low === undefined ? "" : `[${number(low)}, ${number(high)}]`;
}

function intervalHead(over) {
  return over ? word("intervalOver", { over: word(over) }) : word("interval");
}

// An axis label: 1,000 steps and more are 1k, 1M, 1G.
function tick(value) {
  if (value === 0) return "0";
  return Math.abs(value) < 0.01
    ? d3.format(".2~e")(value)
    : d3.format(Math.abs(value) >= 1000 ? ".3~s" : ".4~g")(value);
}

// A task's number on one of its axes; values that are no numbers have words of their own.
function worded(words, value) {
  return words ? (words[value] ?? "") : d3.format(".3~g")(value).replace("-", "−");
}

function wordedTick(words) {
  return words ? (value) => words[value] ?? "" : tick;
}

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function section(name, ...children) {
  return element(
    "section",
    { id: name, "aria-labelledby": `${name}-head` },
    element("h2", { id: `${name}-head` }, word(name)),
    ...children,
  );
}

// A picture that is drawn as wide as its place, and again when that changes.
function chart(draw, label) {
  const node = element("div", { class: "chart", role: "img", "aria-label": label });
  let width = 0;
  node.redraw = () => {
    if (width) node.replaceChildren((node.plot = draw(width)));
  };
  new ResizeObserver(([entry]) => {
    const found = Math.floor(entry.contentRect.width);
    if (found !== width) {
      width = found;
      // in a task of its own: the page shows itself before all of its pictures are drawn
      setTimeout(node.redraw);
    }
  }).observe(node);
  return node;
}

function plot(options) {
  const drawn = Plot.plot({
    className: "plot",
    style: { fontSize: "13px", color: "var(--ink)" },
    marginBottom: 50,
    marginTop: 28,
    ...options,
    x: { labelOffset: 42, labelAnchor: "center", labelArrow: "none", ...options.x },
    y: { labelArrow: "none", ...options.y },
  });
  // groups have no role, so they may not have a label: the picture as a whole has one
  for (const group of drawn.querySelectorAll("g[aria-label]")) {
    group.setAttribute("class", group.getAttribute("aria-label"));
    group.removeAttribute("aria-label");
  }
  return drawn;
}

// The axis of a trial's episodes, whole numbers all; it goes on to `last` where something else has more of them.
function episodeAxis(episodes, last = episodes) {
  return {
    label: word("episode"),
    domain: [0.7, last + 0.3],
    ticks: d3.ticks(1, episodes, Math.min(episodes, 12)).filter(Number.isInteger),
    tickFormat: "d",
  };
}

// Lines of a legend, each with its own dash and mark, so that colour is never all that tells them apart.
function legend(entries, name = "legend") {
  return element(
    "ul",
    { class: name },
    ...entries.map(({ look, text, faint }) => element("li", {}, swatch(look, faint), text)),
  );
}

function swatch(look, faint) {
  const mark = d3
    .create("svg")
    .attr("width", 34)
    .attr("height", 14)
    .attr("viewBox", "-17 -7 34 14")
    .attr("aria-hidden", "true");
  const line = mark
    .append("line")
    .attr("x1", -17)
    .attr("x2", 17)
    .attr("stroke", look.color)
    .attr("stroke-width", look.width);
  line.attr("stroke-dasharray", look.dash).attr("stroke-opacity", faint ? 0.35 : 1);
  if (look.symbol) mark.append("path").attr("d", d3.symbol(SYMBOLS[look.symbol], 42)()).attr("fill", look.color);
  return mark.node();
}

const SYMBOLS = {
  circle: d3.symbolCircle,
  square: d3.symbolSquare,
  triangle: d3.symbolTriangle,
  diamond: d3.symbolDiamond,
  star: d3.symbolStar,
  cross: d3.symbolCross,
  wye: d3.symbolWye,
};

function budgetsNote({ fewest, most, times }, names) {
  return word("budgets", {
    fewest: names[fewest.run],
    least: fewest.steps.toLocaleString("en"),
    most: names[most.run],
    largest: most.steps.toLocaleString("en"),
    times,
  });
}

// A colour that was chosen for white paper, and what stands for it on dark paper: strong colours stay as they are as far as they
// stand out there; papers, inks and tints change places.
function paint(color) {
  const { h, c, l } = d3.hcl(color);
  const strong = c > 40;
  const dark = d3.hcl(h, strong ? c : Math.min(c || 0, 25), strong ? Math.max(62, Math.min(l, 80)) : 13 + 0.8 * (100 - l));
  return `light-dark(${color}, ${dark.formatHex()})`;
}

function rampBar(interpolate) {
  const bar = d3
    .create("svg")
    .attr("viewBox", "0 0 60 8")
    .attr("width", 180)
    .attr("height", 12)
    .attr("preserveAspectRatio", "none")
    .attr("aria-hidden", "true");
  bar
    .selectAll("rect")
    .data(d3.range(60))
    .join("rect")
    .attr("x", (step) => step)
    .attr("width", 1.1)
    .attr("height", 8)
    .attr("fill", (step) => interpolate(step / 59));
  return bar.node();
}

function table(heads, rows) {
  const body = rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))));
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": word("numbers") },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)),
  );
}

function details(title, ...children) {
  return element("details", {}, element("summary", {}, title), ...children);
}

// Buttons of which one is pressed.
function choice(label, options, chosen, choose) {
  const buttons = options.map(([value, text, disabled]) =>
    element(
      "button",
      {
        type: "button",
        "aria-pressed": String(value === chosen),
        disabled: disabled ? "" : null,
        onclick: () => {
          for (const [index, button] of buttons.entries())
            button.setAttribute("aria-pressed", String(options[index][0] === value));
          choose(value);
        },
      },
      text,
    ),
  );
  return element("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
}
