"""rollproof predict: when sessions move, streams are cut and signals come, from the settings alone."""

from __future__ import annotations

import json

from rollproof.cli import options as o
from rollproof.cli.running import err, out, wide_out
from rollproof.core.errors import NotModelled
from rollproof.core.platforms import FARGATE
from rollproof.prediction.predict import predict_rollout
from rollproof.prediction.words import Fate
from rollproof.report.prediction_page import prediction_json, render_prediction
from rollproof.strategies import find_strategy
from rollproof.subject import Subject

EXAMPLES = """[bold]Examples[/]

rollproof predict                                        the sample, as its templates deploy it

rollproof predict --strategy memory --set deregistration_delay_s=30

rollproof predict --template infra/ecs.yaml --parameter DesiredCount=4

rollproof predict --set minimum_healthy_percent=50 --set maximum_percent=100 --verbose

rollproof predict --set sticky_overrides_drain=true --json

Nothing is started. Exit codes: 0 predicted, a stuck deployment included; 2 usage.
"""

SAMPLE_STRATEGY = "stateless"
"""How the sample's own templates deploy it."""


def command(
    app: o.App = "",
    command_: o.Command = "",
    template: o.Template = None,
    parameter: o.Parameter = None,
    env: o.Env = None,
    strategy: o.Strategy = "",
    platform: o.PlatformOption = FARGATE,
    set_: o.Set = None,
    config: o.ConfigFile = None,
    seed: o.Seed = 1,
    as_json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """Predict a rolling deployment, from its settings alone."""
    chosen = o.choose(
        app=app, command=command_, template=template, parameter=parameter, env=env, strategy=strategy,
        platform=platform, sets=set_, config_file=config,
    )  # fmt: skip
    if not platform.startswith(FARGATE):
        raise NotModelled(
            f"the steps of a rollout on platform {platform} are not documented, so nothing adds up to a prediction",
            hint="--platform fargate or fargate-no-sticky; `rollproof rehearse --platform` plays the others",
        )
    with err.status("playing the deployment in virtual time ..."):
        prediction = predict_rollout(chosen.subject.settings, chosen.timing, seed=seed)
    fate = fate_of(chosen.subject, strategy)
    if as_json:
        out.print_json(json.dumps(prediction_json(prediction, fate)))
    else:
        render_prediction(prediction, fate, console=wide_out() if verbose else out, verbose=verbose)


def fate_of(subject: Subject, strategy: str) -> Fate:
    """What becomes of a session that moves, as far as its strategy says; nothing is known of somebody's own server."""
    if not subject.is_sample:
        return Fate.UNKNOWN
    return Fate(find_strategy(strategy or SAMPLE_STRATEGY).expected)
