"""Annealed importance sampling and bidirectional Monte Carlo, as `jvi.ais` (docs/ais.md)."""

from jvi.assessment.annealing import STARTS, AnnealedSamples, ais, check_request, evaluations
from jvi.assessment.bidirectional import Sandwich, bdmc, sandwich, simulate
from jvi.assessment.temperatures import SCHEDULES

__all__ = [
    "SCHEDULES",
    "STARTS",
    "AnnealedSamples",
    "Sandwich",
    "ais",
    "bdmc",
    "check_request",
    "evaluations",
    "sandwich",
    "simulate",
]
