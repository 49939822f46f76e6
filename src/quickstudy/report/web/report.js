// The page of a run.
const PARTS = [adaptation, taskmap, world, steps, foreseen, mind, learning, health, facts];

function subtitle() {
  const { seeds } = CONTENTS;
  return [
    CONTENTS.run,
    seeds.length > 1 ? word("seeds", { seeds: seeds.join(", ") }) : word("seed", { seed: seeds[0] }),
    ...howFar(),
  ];
}
