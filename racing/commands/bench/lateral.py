"""`racing bench lateral`: environment steps per second of env=lateral, alone and with a process on each core."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from racing.commands.bench.report import Result, Row, say
from racing.processes import safe_children, usable_cores

WARM_UP = 20  # steps
ROUTES = 100


def lateral(options: Mapping[str, Any]) -> Result:
    """Steps of the whole environment: dynamics, sampling, observation, reward, restarts; random actions."""
    rows: list[Row] = []
    cores = usable_cores()
    for cars in options["num_cars"]:
        found = [measure(options["dynamics"], cars, options["seconds"]) for _ in range(options["repeats"])]
        rows.append(row_of(cars, 1, [wall for wall, _ in found], [cpu for _, cpu in found]))
    best = max(rows, key=lambda row: row["per_cpu_s"])["num_cars"]
    with safe_children():
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(cores, mp_context=context) as pool:
            list(pool.map(measure, *zip(*[(options["dynamics"], best, 0.01)] * cores, strict=True)))  # all are there
            sums, shares = [], []
            for _ in range(options["repeats"]):
                jobs = [pool.submit(measure, options["dynamics"], best, options["seconds"]) for _ in range(cores)]
                done = [job.result() for job in jobs]
                sums.append(sum(wall for wall, _ in done))
                shares.append(statistics.mean(cpu for _, cpu in done))
    rows.append(row_of(best, cores, sums, shares))
    return rows, {"dynamics": options["dynamics"]}


def row_of(cars: int, processes: int, rates: list[float], cpu_rates: list[float]) -> Row:
    """A row of the table, said as progress, too."""
    row: Row = {"num_cars": cars, "processes": processes, "steps_per_s": statistics.median(rates)}
    say(f"{cars} cars in each of {processes} processes: {row['steps_per_s']:,.0f}/s")
    return {**row, "per_cpu_s": statistics.median(cpu_rates), "rates": rates}  # of one core, busy or not


def measure(dynamics: str, cars: int, seconds: float) -> tuple[float, float]:
    """Environment steps of all cars per second, and per second of the processor, for at least so long."""
    import numpy as np

    from racing.envs.lateral.task import LateralTask

    task = LateralTask(races=cars, dynamics=dynamics, route_count=ROUTES)
    task.reset()
    actions = np.random.default_rng(0).normal(0.0, 0.1, (WARM_UP, cars, 1)).astype(np.float32)
    for action in actions:
        task.step_batch(action)
    done, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        for action in actions:
            task.step_batch(action)
        done += len(actions) * cars
    return done / (time.perf_counter() - began), done / (time.process_time() - cpu_began)
