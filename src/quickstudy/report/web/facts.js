// What was run: the command, each section of the configuration, the machine.
function facts() {
  const { command, config, system } = CONTENTS.facts;
  const pairs = (title, values) =>
    element(
      "div",
      {},
      element("h3", {}, title),
      element(
        "table",
        {},
        element(
          "tbody",
          {},
          ...Object.entries(values).map(([key, value]) =>
            element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value)),
          ),
        ),
      ),
    );
  return section(
    "facts",
    command ? element("h3", {}, word("command")) : null,
    command ? element("pre", {}, command) : null,
    element(
      "div",
      { class: "facts" },
      ...Object.entries(config).map(([name, values]) => pairs(name, values)),
      pairs(word("system"), system),
    ),
  );
}
