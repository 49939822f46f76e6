// The report: a run's pictures, one below the other.
function sections() {
  return [adaptation(), taskmap(), world(), learning(), health(), facts()];
}

render();
