"""Days with a trained agent at the pump of a patient that it never met, hour by hour; not for treatment.

quickstudy train rl2 glucose --tuned --run runs/glucose
python examples/glucose_day.py runs/glucose --days 5

The agent is a live session. It is told what a pump knows: sensor, carbohydrates, clock, weight and age group. The reward that
it hears is the risk of what the sensor says, since nobody knows more. True glucose is in the summary of each day alone.
"""

import argparse
import math

import torch

import quickstudy as qs
from quickstudy.families.health.glucose import COHORTS, Glucose
from quickstudy.families.health.uva_padova import table
from quickstudy.oracles.glucose import seen
from quickstudy.protocol import counter


def risk(reading: float) -> float:
    """Of a sensor's reading, as the family pays that of true glucose."""
    return 10 * (1.509 * (math.log(reading) ** 1.084 - 5.381)) ** 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--patient", default="adult-10", help="one of those for tests, such as child-9")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    assert int(given.patient.split("-")[1]) > 8, "adolescent-9, adolescent-10, adult-9 ... were not met in training"
    learner, family = qs.load(given.run), Glucose()
    tasks = qs.NativeTasks(family)
    patient = tasks.sample(1, "test", counter(given.seed, 0, "patient"))
    patient["patient"][:] = table().names.index(given.patient)
    env, session = tasks.make(1, 1), qs.Session(learner, seed=given.seed, greedy=True)
    observation = env.reset(patient, counter(given.seed, 0, "days"))
    cohort = next(name for name, rows in COHORTS.items() if int(patient["patient"]) in rows)
    print(f"{given.patient}, one of the {cohort}, {float(seen(observation).weight):.0f} kg")
    for day in range(given.days):
        shown = day in (0, given.days - 1)  # the first and the last, hour by hour
        if shown:
            print(f"\nday {day + 1}\n hour  sensor  basal U/h  bolus U  eaten g")
        hour, told = {"basal": 0.0, "bolus": 0.0, "eaten": 0.0}, []
        over = False
        while not over:
            now = seen(observation)
            action = torch.as_tensor(session.act(observation[0, 0].numpy()))
            rule, eaten = 0.55 * float(now.weight), float(now.coming)
            hour["basal"] += 0.25 * rule / 48 * math.exp(1.2 * float(action[0])) * (float(action[0]) > -0.95)
            hour["bolus"] += eaten * rule / 500 * math.exp(1.5 * float(action[1]))
            hour["eaten"] += eaten
            step = env.step(action[None, None])
            over = bool(step.terminated | step.truncated)
            reading = float(seen(step.arrival).reading)
            ended = 25.0 * float(step.terminated)
            session.feedback(
                -risk(reading) / 100 - ended, bool(step.terminated), bool(step.truncated), step.arrival[0, 0].numpy()
            )
            told.append({name: float(value) for name, value in step.info.items()})
            if shown and int(now.quarter) % 4 == 3:
                dose = f"{hour['bolus']:7.1f}  {hour['eaten']:7.0f}" if hour["eaten"] else ""
                print(f"{int(now.quarter) // 4 + 1:5d}  {reading:6.0f}  {hour['basal']:9.2f}  {dose}".rstrip())
                hour = dict.fromkeys(hour, 0.0)
            observation = step.observation
        means = {name: sum(each[name] for each in told) / len(told) for name in told[0]}
        print(
            f"day {day + 1}: {means['time in range']:.0f} % of the time in range, {means['below 70']:.0f} % below 70,"
            f" {means['above 180']:.0f} % above 180"
        )


if __name__ == "__main__":
    main()
