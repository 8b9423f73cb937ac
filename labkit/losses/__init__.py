"""Distillation losses: pure functions of tensors that return a scalar. One file per family."""

from .response import hinton_kd, kd_objective, logit_mse

__all__ = ["hinton_kd", "kd_objective", "logit_mse"]
