"""What the fixture `rollout` is: a callable that plays one rehearsal, and keeps its result for the report."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollproof.api.config import Config, load_config
from rollproof.api.knobs import apply_overrides, apply_timing_overrides, split_overrides
from rollproof.core.errors import RollproofError, UsageError
from rollproof.core.platforms import refuse_elsewhere, settings_on_platform, timing_on_platform
from rollproof.core.timing import Timing
from rollproof.core.validate import validate
from rollproof.platforms import probe_on_platform
from rollproof.probe import Era, Increments, ProbeOptions
from rollproof.rehearsal import Rehearsal, Rehearsed, check_faults, rehearse
from rollproof.strategies import clients_of, fails_at_once
from rollproof.subject import Subject, find_subject, with_strategy
from rollproof.testing.rollouts import replay
from rollproof.testing.rollouts.apps import AppChoice, choose_app
from rollproof.testing.rollouts.arguments import Arguments, pairs, read_arguments
from rollproof.testing.rollouts.directories import name_of
from rollproof.testing.rollouts.result import RolloutResult

CONFIG_NAME = "rollproof.toml"
FEW = ProbeOptions(
    "http://localhost/mcp", sessions=4, delay_s=10.0, increments=Increments.KEYED, slow_every=4, slow_s=3.0,
    open_streams=True,
)  # fmt: skip
"""The clients of a test: as those of `rollproof rehearse`, but few, and slow. One of them keeps a slow call in flight,
where the server has a tool for it. A rollout lasts eight minutes at AWS's pace: a call every ten seconds will do."""
REAL_DELAY_S = 0.5
"""Between two calls on the stages with a real clock, at the usual speed of 10."""


class Rollout:
    """`rollout("my_server:mcp", desired_count=2, ...)`: docs/testing.md lists what can be said."""

    def __init__(self, request: pytest.FixtureRequest, runs: Path, results: list[RolloutResult]) -> None:
        self._node: pytest.Item = request.node
        self._config, self._runs, self._results = request.config, runs, results
        self._test_module: str = getattr(getattr(request.node, "module", None), "__name__", "")

    def __call__(self, app: object = None, /, **arguments: Any) -> RolloutResult:
        """Play it to the end. Whatever keeps it from being played fails the test in one sentence."""
        __tracebackhide__ = True
        try:
            return self._play(arguments if app is None else {"app": app, **arguments})
        except RollproofError as error:
            failure = f"rollproof: {error.message}" + (f"\nhint: {error.hint}" if error.hint else "")
        pytest.fail(failure, pytrace=False)

    def _play(self, said: Mapping[str, Any]) -> RolloutResult:
        _refuse_inside_of_a_loop()
        asked = read_arguments(self._with_defaults(said))
        root = self._config.rootpath
        path = root / CONFIG_NAME
        config = load_config(path) if path.exists() else None
        app = self._app(asked, config)
        rehearsal = self._rehearsal(asked, config, app)
        done = _rehearse(rehearsal, asked, app)
        result = RolloutResult(
            done.verdict,
            done.run_dir,
            commands=replay.commands(asked, app, rehearsal, done.run_dir),
            test=replay.pasteable(said, asked),
        )
        self._results.append(result)
        self._node.user_properties.append(("rollproof_run", str(done.run_dir)))
        return result

    def _with_defaults(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The command line before the call, before markers, before the ini file."""
        config = self._config
        ini: dict[str, Any] = {
            name: text for name in ("stage", "seed", "app", "image") if (text := config.getini(f"rollproof_{name}"))
        }
        if "seed" in ini:
            ini["seed"] = _number("rollproof_seed", ini["seed"])
        if templates := config.getini("rollproof_templates"):
            ini["templates"] = templates
        if parameters := config.getini("rollproof_parameters"):
            ini["parameters"] = pairs(parameters, "rollproof_parameters")
        ini |= pairs(config.getini("rollproof_set"), "rollproof_set")
        marked: dict[str, Any] = {}
        for marker in reversed(list(self._node.iter_markers("rollproof"))):
            marked |= marker.kwargs
        forced = {name: config.getoption(f"rollproof_{name}") for name in ("stage", "seed")}
        return {**ini, **marked, **said} | {name: value for name, value in forced.items() if value is not None}

    def _app(self, asked: Arguments, config: Config | None) -> AppChoice:
        named = asked.app or ("" if asked.strategy or config is None else config.app)
        root = self._config.rootpath
        if asked.stage == "docker" and not asked.strategy:
            if not asked.image:
                raise UsageError(
                    "the docker stage runs images, and this rollout names none",
                    hint='build one of your server, and name it: image="...", or rollproof_image in the ini file',
                )
            return AppChoice("", root)
        if named:
            return choose_app(named, root, self._test_module)
        if not asked.strategy:
            raise UsageError(
                "rollout() names no server", hint='e.g. rollout("my_server:mcp"), or rollproof_app in the ini file'
            )
        return AppChoice("", root)  # the sample server, which strategies are settings of

    def _rehearsal(self, asked: Arguments, config: Config | None, app: AppChoice) -> Rehearsal:
        subject = self._subject(asked, config, app)
        template = subject.settings
        settings = settings_on_platform(template, asked.platform)
        timing = timing_on_platform(Timing(), asked.platform)
        layers: list[tuple[Mapping[str, Any], str]] = [(config.overrides, config.source)] if config else []
        for overrides, source in [*layers, (asked.knobs, "--set")]:
            ours, timings = split_overrides(overrides)
            settings, timing = apply_overrides(settings, ours, source=source), apply_timing_overrides(timing, timings)
        validate(settings)
        is_sim = asked.stage == "sim"
        return Rehearsal(
            replace(subject, settings=settings), template, timing=timing, disruption=asked.disruption,
            probe=_clients(asked, config), mcp_path="/" + asked.path.lstrip("/"), speed=1.0 if is_sim else asked.speed,
            seed=asked.seed, runs_dir=self._runs, name=name_of(self._node.name), timeout_s=asked.timeout_s,
            redis_url=asked.redis if isinstance(asked.redis, str) else "", strategy=asked.strategy,
            platform=asked.platform, needs_warm_up=not fails_at_once(asked.strategy),
            command=replay.pytest_command(self._node.nodeid, asked), probe_given=tuple(sorted(asked.probe)),
            faults=asked.faults,
        )  # fmt: skip

    def _subject(self, asked: Arguments, config: Config | None, app: AppChoice) -> Subject:
        is_docker = asked.stage == "docker"
        environment = {"HOST": "0.0.0.0"} if is_docker else {}  # noqa: S104 - a container's own network
        own = app.name or ("" if asked.strategy or is_docker else "my_server:app")
        subject = find_subject(
            app=own,
            image=asked.image if is_docker and not asked.strategy else "",
            templates=self._templates(asked) or (config.template_files if config else ()),
            parameters={**(config.template_parameters if config else {}), **asked.parameters},
            imports=config.template_imports if config else {},
            service=asked.service or (config.service if config else ""),
            environment={**environment, **(config.env if config else {}), **asked.env},
            working_directory=app.root,
        )
        if asked.strategy:
            subject = with_strategy(subject, asked.strategy)
        return replace(subject, needs_redis=subject.needs_redis or bool(asked.redis))

    def _templates(self, asked: Arguments) -> tuple[Path, ...]:
        """Relative to the project, or else to the test's own directory."""
        root, here = self._config.rootpath, Path(self._node.path).parent
        return tuple(
            here / path if not (root / path).exists() and (here / path).exists() else root / path
            for path in asked.templates
        )


def _clients(asked: Arguments, config: Config | None) -> ProbeOptions:
    usual = FEW if asked.stage == "sim" else replace(FEW, delay_s=REAL_DELAY_S)
    given = {**(config.probe if config else {}), **asked.probe}
    probe = clients_of(usual, asked.strategy, given.keys())
    on_platform = probe_on_platform(probe, asked.platform)
    probe = replace(probe, sessions=on_platform.sessions, open_streams=on_platform.open_streams)
    if given.get("era", probe.era) is Era.MODERN:
        probe = replace(probe, open_streams=False)
    probe = replace(probe, **given)
    probe.validate()
    return probe


def _rehearse(rehearsal: Rehearsal, asked: Arguments, app: AppChoice) -> Rehearsed:
    """On the stage that was asked for. Raises as `rehearsal.rehearse`."""
    check_faults(rehearsal, asked.stage)
    if asked.stage == "sim":
        return _in_process(rehearsal, asked, app)
    if app.factory is not None:
        raise UsageError(
            f"a factory inside of a test cannot be called by a task of the {asked.stage} stage",
            hint='put it into a module, and name it: rollout("my_server:create_app")',
        )
    if asked.stage == "local":
        return asyncio.run(rehearse(rehearsal))
    return asyncio.run(_in_compose(rehearsal, asked))


def _in_process(rehearsal: Rehearsal, asked: Arguments, app: AppChoice) -> Rehearsed:
    if isinstance(asked.redis, str):
        raise UsageError(
            "the in-process stage has a Redis of its own, in virtual time",
            hint='redis=True; for a Redis of yours: stage="local"',
        )
    refuse_elsewhere(rehearsal.settings.platform, "the in-process stage")
    from rollproof.sim_rehearsal import rehearse_in_process  # noqa: PLC0415 - the other stages do without it

    with _fewer_collections(), _usual_warnings():
        return rehearse_in_process(rehearsal, app=app.factory)


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """A rollout makes much and drops little: looking for garbage as often as usual costs a tenth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def _in_compose(rehearsal: Rehearsal, asked: Arguments) -> Rehearsed:
    from rollproof.docker_rehearsal import order_of, rehearse_in_compose  # noqa: PLC0415
    from rollproof.orchestrator.compose_stage import ComposeStage, find_compose_file  # noqa: PLC0415
    from rollproof.orchestrator.stage_files import BalancerKind  # noqa: PLC0415
    from rollproof.subject import sample_root  # noqa: PLC0415

    refuse_elsewhere(rehearsal.settings.platform, "the docker stage")
    environment = {"ROLLPROOF_IMAGE": asked.image} if asked.image else {}
    compose = ComposeStage(find_compose_file(Path.cwd(), sample_root()), environment)
    order = order_of(replace(rehearsal, balancer=BalancerKind.NGINX), is_as_it_is=False)
    return await rehearse_in_compose(
        compose, order, rehearsal.runs_dir, image=asked.image, sets_project=bool(asked.image)
    )


@contextmanager
def _usual_warnings() -> Iterator[None]:
    """Python's own filters. With pytest's `error`, a deprecated call would become an error of a task."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        yield


def _refuse_inside_of_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "rollout() was called inside of an event loop, and needs one of its own", hint="write `def test_...`, not async"
    )


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} is {text!r}, and no whole number") from None
