"""Break the library on purpose, one mistake at a time, and name the test that notices.

Every mistake is a replacement of exact code text in a copy of the package; text that is no longer there is an error, so
that this list follows the code. Exits with 1 when a mistake goes unnoticed, 2 when it cannot be made.

    python tests/mutate.py             all of them
    python tests/mutate.py guidance    those whose name contains the word
    python tests/mutate.py --passed    all of them; the tests are known to pass without a mistake, as after a whole run
    python tests/mutate.py --share 3   every third, another third with every commit: what .ci/run has time for
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PASSED, SHARE = "--passed", "--share"
COPIED = ("infusenet", "tests", "pyproject.toml", "requirements.txt", "README.md")


@dataclass(frozen=True)
class Mistake:
    """One wrong line: `right` in `file` becomes `wrong`; `tests` are the ones that should notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


MISTAKES = (
    Mistake(
        "live: steps that were dropped share a batch",
        "infusenet/probe/background.py",
        "session.live, session.one_by_one = False, True",
        "session.live = False",
        ("tests/probe/test_background.py",),
    ),
    Mistake(
        "rank-1: the crowd is not part of a job",
        "infusenet/sweep/jobs.py",
        'f"{name} {crowd}" if name.split()[0] == "rank_1" else name for name in named',
        "named",
        ("tests/sweep/test_jobs.py",),
    ),
    Mistake(
        "rank-1: a tie is won",
        "infusenet/measures/instruments.py",
        "other is None or own > other",
        "other is None or own >= other",
        ("tests/measures/test_instruments.py",),
    ),
    Mistake(
        "refresh: every k-th step is every k+1st",
        "infusenet/speed/refresh.py",
        "return now.step - last.step >= self.steps",
        "return now.step - last.step > self.steps",
        ("tests/speed/test_refresh.py",),
    ),
    Mistake(
        "schedule: an adaptive stride grows without a bound",
        "infusenet/speed/schedules.py",
        "min(GROWTH * before, len(ahead) - 1)",
        "len(ahead) - 1",
        ("tests/speed/test_schedules.py",),
    ),
    Mistake(
        "schedule: of a batch the first picture decides",
        "infusenet/speed/schedules.py",
        "float((difference / length).max())",
        "float((difference / length)[0])",
        ("tests/speed/test_schedules.py",),
    ),
    Mistake(
        "schedule: strengths of steps left out stay",
        "infusenet/adapters/infusenet/schedule.py",
        "del self._scales[step + 1 : following]",
        "pass",
        ("tests/speed/test_schedules.py",),
    ),
    Mistake(
        "fp8: one scale for the whole matrix",
        "infusenet/speed/fp8.py",
        "x.abs().amax(dim=1, keepdim=True)",
        "x.abs().amax().expand(len(x), 1)",
        ("tests/speed/test_compiled.py",),
    ),
    Mistake(
        "compile: InfuseNet and FLUX share their code",
        "infusenet/speed/compiled.py",
        "torch.compile(_own_code(kind.forward), backend=BACKEND)",
        "torch.compile(kind.forward, backend=BACKEND)",
        ("tests/speed/test_compiled.py",),
    ),
    Mistake(
        "joint attention: scores without the division by sqrt(d)",
        "infusenet/guidance/joint.py",
        "wide(key[:, :, :tokens]) / query.shape[-1] ** 0.5",
        "wide(key[:, :, :tokens])",
        ("tests/guidance/test_joint.py",),
    ),
    Mistake(
        "joint attention: what was there before is not taken off",
        "infusenet/guidance/joint.py",
        "torch.sub(weights.mT, attention.mT, out=change[:, :, :tokens])",
        "change[:, :, :tokens] = weights.mT",
        ("tests/guidance/test_joint.py",),
    ),
    Mistake(
        "joint attention: the soft mask's edge is a quantile of the share itself",
        "infusenet/guidance/joint.py",
        "super()._changed(attention / largest, part, step)",
        "super()._changed(attention, part, step)",
        ("tests/guidance/test_joint.py",),
    ),
    Mistake(
        "SDXL: a negative prompt is always read",
        "infusenet/adapters/ip_adapter/pipeline.py",
        "do_classifier_free_guidance=guidance.needs_negative",
        "do_classifier_free_guidance=True",
        ("tests/adapters/test_sdxl_loading.py",),
    ),
    Mistake(
        "joint attention: the identity's own queries are changed too",
        "infusenet/guidance/joint.py",
        "    keys = wide(key",
        "    out[:, :, :tokens] *= 2\n    keys = wide(key",
        ("tests/guidance/test_joint.py",),
    ),
    Mistake(
        "InfuseNet's attention: the stock processors do not come back after an error",
        "infusenet/adapters/infusenet/attention.py",
        """    try:
        yield
    finally:
        controlnet.set_attn_processor(before)""",
        """    yield
    controlnet.set_attn_processor(before)""",
        ("tests/adapters/test_attention.py",),
    ),
    Mistake(
        "InfuseNet's attention: the identity's keys are not normed",
        "infusenet/adapters/infusenet/attention.py",
        "attn.norm_added_q(first[0]), attn.norm_added_k(first[1])",
        "attn.norm_added_q(first[0]), first[1]",
        ("tests/adapters/test_attention.py",),
    ),
    Mistake(
        "decoupled guidance: the branch without the identity gets residuals",
        "infusenet/adapters/infusenet/run.py",
        "if sees.identity else (None, None)",
        "if sees.prompt else (None, None)",
        ("tests/adapters/test_decoupled.py",),
    ),
    Mistake(
        "decoupled guidance: branches that are the same where InfuseNet rests are run twice",
        "infusenet/adapters/infusenet/run.py",
        "Contents(each.prompt, each.identity and acts)",
        "Contents(each.prompt, each.identity)",
        ("tests/adapters/test_decoupled.py",),
    ),
    Mistake(
        "decoupled guidance: true CFG is asked for beside it",
        "infusenet/generate.py",
        'options.pop("true_cfg_scale", None)',
        "pass",
        ("tests/guidance/test_notation.py",),
    ),
    Mistake(
        "ip-adapter: FaceID plus without its shortcut",
        "infusenet/adapters/ip_adapter/projection.py",
        "return tokens + found",
        "return found",
        ("tests/adapters/test_ip_adapter_files.py",),
    ),
    Mistake(
        "ip-adapter: layers in the order of their numbers' text",
        "infusenet/adapters/ip_adapter/layouts.py",
        'numbers = sorted(int(key.split(".")[0]) for key in inside if key.endswith("to_k_ip.weight"))',
        'numbers = sorted(key.split(".")[0] for key in inside if key.endswith("to_k_ip.weight"))',
        ("tests/adapters/test_ip_adapter_files.py",),
    ),
    Mistake(
        "ip-adapter: the LoRA's halves exchanged",
        "infusenet/adapters/ip_adapter/layouts.py",
        'found[int(number), part] = (down, inside[f"{number}.{part}_lora.up.weight"])',
        'found[int(number), part] = (inside[f"{number}.{part}_lora.up.weight"], down)',
        ("tests/adapters/test_ip_adapter_files.py",),
    ),
    Mistake(
        "refresh: the steps of a list are counted from 0",
        "infusenet/speed/refresh.py",
        "last.step < step - 1 <= now.step",
        "last.step < step <= now.step",
        ("tests/speed/test_refresh.py",),
    ),
    Mistake(
        "refresh: a step of two evaluations computes at its first alone",
        "infusenet/speed/refresh.py",
        "and now.step != kept[0].step and",
        "and",
        ("tests/speed/test_refresh.py",),
    ),
    Mistake(
        "refresh: the two branches share what is kept",
        "infusenet/adapters/infusenet/run.py",
        "self.reuse.of(id(text[1]), now, compute)",
        "self.reuse.of(0, now, compute)",
        ("tests/speed/test_refresh.py",),
    ),
    Mistake(
        "refresh: residuals outlive the run",
        "infusenet/adapters/infusenet/pipeline.py",
        "as progress_bar, run.reuse:",
        "as progress_bar:",
        ("tests/speed/test_refresh.py",),
    ),
    Mistake(
        "report: a peak is valued at the people who chose it",
        "infusenet/sweep/report/stats.py",
        "peaks = halves[1 - first :: 2]",
        "peaks = halves[first::2]",
        ("tests/sweep/test_stats.py",),
    ),
    Mistake(
        "report: a difference that is sure agrees whatever its sign",
        "infusenet/sweep/report/verdicts.py",
        'return ("agrees" if as_large else "size") if same else "contradicts"',
        'return "agrees" if as_large or same else "size"',
        ("tests/sweep/test_verdicts.py",),
    ),
    Mistake(
        "compare: above means above the mean alone",
        "infusenet/measures/baselines.py",
        "level + DEVIATIONS * std",
        "level",
        ("tests/compare/test_compare.py",),
    ),
    Mistake(
        "compare: the copy-paste score's photos exchanged",
        "infusenet/metrics/similarity.py",
        "(_angle(to_other) - _angle(to_reference))",
        "(_angle(to_reference) - _angle(to_other))",
        ("tests/metrics/test_similarity.py",),
    ),
    Mistake(
        "compare: names go into the page as they are",
        "infusenet/pages/templates/compare.html",
        ">{{ name }}</span>",
        ">{{ name | safe }}</span>",
        ("tests/compare/test_compare.py",),
    ),
    Mistake(
        "levels: a person is an impostor of its own",
        "infusenet/measures/levels.py",
        "if other is not person",
        "if other",
        ("tests/measures/test_levels.py",),
    ),
    Mistake(
        "agreement: pictures of another group are remembered",
        "infusenet/measures/agreement.py",
        "if group != self._group:",
        "if self._group is None:",
        ("tests/measures/test_agreement.py",),
    ),
    Mistake(
        "true CFG: the negative branch gets the positive one's residuals",
        "infusenet/adapters/infusenet/run.py",
        "self.residuals(controlnet, now, text, at) if sees.identity",
        "self.residuals(controlnet, now, self.positive, at) if sees.identity",
        ("tests/adapters/test_pipeline.py",),
    ),
    Mistake(
        "charts: the strip's band is one deviation below the mean",
        "infusenet/charts/strip.py",
        "(2 * self.baseline.mean - upper, upper)",
        "((3 * self.baseline.mean - upper) / 2, upper)",
        ("tests/charts/test_strip.py",),
    ),
    Mistake(
        "pages: a dark page has the light colours",
        "infusenet/pages/render.py",
        "dark=DARK.by_name()",
        "dark=LIGHT.by_name()",
        ("tests/pages/test_render.py",),
    ),
    Mistake(
        "pages: nothing is escaped",
        "infusenet/pages/render.py",
        "autoescape=True",
        "autoescape=False",
        ("tests/pages/test_render.py",),
    ),
    Mistake(
        "pages: what is missing is left out",
        "infusenet/pages/render.py",
        "undefined=StrictUndefined, trim_blocks",
        "trim_blocks",
        ("tests/pages/test_render.py",),
    ),
    Mistake(
        "guidance constant: InfuseNet gets FLUX's guidance",
        "infusenet/adapters/infusenet/model.py",
        "GUIDANCE = 1.0",
        "GUIDANCE = 3.5",
        ("tests/adapters/test_model.py",),
    ),
    Mistake(
        "block mapping: residuals spread evenly",
        "infusenet/flux/blocks.py",
        "return block // math.ceil(n_blocks / n_residuals)",
        "return block * n_residuals // n_blocks",
        ("tests/test_sampling.py",),
    ),
    Mistake(
        "tail: levels even in noise, not along the schedule",
        "infusenet/sampling.py",
        "places = step + left * torch.arange(steps + 1, dtype=torch.float64) / steps",
        "places = step + left * (torch.arange(steps + 1, dtype=torch.float64) / steps) ** 2",
        ("tests/test_sampling.py",),
    ),
    Mistake(
        "unseen steps: a run is cut short though a face is not seen",
        "infusenet/probe/stopping.py",
        "return bool(values) and len(known) == len(values) and",
        "return bool(known) and",
        ("tests/probe/test_stopping.py",),
    ),
    Mistake(
        "unseen steps: they make a peak",
        "infusenet/probe/trace.py",
        "seen = all(self.sees(record, item) for item in self.counted)",
        "seen = all(record.similarity[item] is not None for item in self.counted)",
        ("tests/probe/test_drift.py",),
    ),
    Mistake(
        "advice: given to runs without an adapter",
        "infusenet/probe/advice.py",
        "if trace.run.strength is None:",
        "if False:",
        ("tests/probe/test_advice.py",),
    ),
    Mistake(
        "BGR order: the conditioning recognizer is given RGB",
        "infusenet/adapters/infusenet/encoder.py",
        "np.ascontiguousarray(norm_crop(picture, face.kps, size)[..., ::-1])",
        "norm_crop(picture, face.kps, size)",
        ("tests/adapters/test_encoder.py",),
    ),
    Mistake(
        "window rule: by the step's begin alone",
        "infusenet/sampling.py",
        "(i + 1) / steps > end",
        "i / steps >= end",
        ("tests/test_sampling.py",),
    ),
    Mistake(
        "shift of dev: the function's default instead of the configuration's",
        "infusenet/backbones.py",
        "max_shift: float = 1.15",
        "max_shift: float = 1.16",
        ("tests/test_sampling.py",),
    ),
    Mistake(
        "shift of schnell: dev's",
        "infusenet/backbones.py",
        '"shift": 1.0,\n}',
        '"shift": 3.0,\n}',
        ("tests/test_sampling.py",),
    ),
    Mistake(
        "sweep: a picture without a face counts as 0",
        "infusenet/axes.py",
        "measured = [one for one in tried if one.similarity is not None]",
        "measured = list(tried)",
        ("tests/test_axes.py",),
    ),
    Mistake(
        "sweep: a picture that was cut off counts as made",
        "infusenet/sweep/results.py",
        "return begins == _PNG_BEGINS and file.read() == _PNG_ENDS",
        "return begins == _PNG_BEGINS",
        ("tests/sweep/test_results.py",),
    ),
    Mistake(
        "sweep: a new field changes the ids of jobs that were made before",
        "infusenet/sweep/jobs.py",
        'if name == "format" or value != usual',
        "if name in values",
        ("tests/sweep/test_jobs.py",),
    ),
    Mistake(
        "sweep: the difference is taken of a curve's first value only",
        "infusenet/sweep/report/table.py",
        "for value in figure.values:",
        "for value in figure.values[:1]:",
        ("tests/sweep/test_report.py",),
    ),
    Mistake(
        "sweep: seconds count where other jobs ran on the device",
        "infusenet/sweep/report/table.py",
        'if value == "seconds":',
        "if False:",
        ("tests/sweep/test_report.py",),
    ),
    Mistake(
        "values: ranges in floats, so that 0.1:0.7:0.1 drifts",
        "infusenet/axes.py",
        "return [start + index * step for index in range(math.floor(intervals) + 1)]",
        "return [Decimal(float(start) + place * float(step)) for place in range(math.floor(intervals) + 1)]",
        ("tests/test_axes.py",),
    ),
    Mistake(
        "stream norms: the MLP's part counts as attention",
        "infusenet/metrics/streams.py",
        "given[0][..., :w]",
        "given[0]",
        ("tests/metrics/test_streams.py",),
    ),
    Mistake(
        "back-filling: from the latest smudge",
        "infusenet/measures/face_tracking.py",
        "if score > self._known.surest.get(item, (0.0, place))[0]:",
        "if score > 0.0:",
        ("tests/measures/test_faces.py",),
    ),
    Mistake(
        "unseen steps count: a hollow point makes a peak",
        "infusenet/probe/trace.py",
        "seen = all(self.sees(record, item) for item in self.counted)",
        "seen = True",
        ("tests/measures/test_faces.py",),
    ),
    Mistake(
        "BGR order: SFace is given BGR",
        "infusenet/faces/opencv_zoo.py",
        "rgb = np.stack(crops)[..., ::-1].transpose",
        "rgb = np.stack(crops).transpose",
        ("tests/faces/test_opencv_zoo.py",),
    ),
    Mistake(
        "rule mixed: the finished picture is measured where an earlier step saw the face",
        "infusenet/probe/session.py",
        "reading if reading.seen else Reading(False, score=reading.score)",
        "reading",
        ("tests/probe/test_recorder.py",),
    ),
    Mistake(
        "rule mixed: the smallest detector size decides",
        "infusenet/measures/faces.py",
        "*sorted(self.sizes, reverse=True)]",
        "*sorted(self.sizes)]",
        ("tests/measures/test_faces.py",),
    ),
    Mistake(
        "rule mixed: numbers of different rules are compared",
        "infusenet/measures/base.py",
        "if len({None if rule is None else str(rule) for rule in rules}) > 1:",
        "if not rules:",
        ("tests/measures/test_faces.py",),
    ),
    Mistake(
        "tune: the choice is verified on the people that it was made from",
        "infusenet/tune/search.py",
        "return parted(self.plan.people, 2)[1]",
        "return parted(self.plan.people, 2)[0]",
        ("tests/tune/test_search.py",),
    ),
    Mistake(
        "tune: pictures of one person count as independent",
        "infusenet/tune/standing.py",
        "apart[key[0]] += mine - ratio * other",
        "apart[key] += mine - ratio * other",
        ("tests/tune/test_standing.py",),
    ),
    Mistake(
        "tune: of equally fast ways the least alike is chosen",
        "infusenet/tune/halving.py",
        "return max((way for way, one in standings.items() if one.cost <= bound)",
        "return min((way for way, one in standings.items() if one.cost <= bound)",
        ("tests/tune/test_halving.py",),
    ),
    Mistake(
        "tune: what only seems to miss the target goes",
        "infusenet/tune/standing.py",
        "(high := highs.get(name)) is not None and high < least",
        "name in self.shares and self.shares[name].mean < least",
        ("tests/tune/test_standing.py", "tests/tune/test_halving.py"),
    ),
    Mistake(
        "tune: what is slower and safe goes on as if nothing faster were",
        "infusenet/tune/halving.py",
        "none_so_far *= 1 - chance",
        "none_so_far *= 1",
        ("tests/tune/test_halving.py",),
    ),
    Mistake(
        "tune: the luckiest way is chosen, with nothing to spare",
        "infusenet/tune/halving.py",
        '"misses" if standing.misses(target, DOUBT) else "meets"',
        '"misses" if standing.misses(target) else "meets"',
        ("tests/tune/test_halving.py",),
    ),
    Mistake(
        "recipe: one for dev is taken with schnell",
        "infusenet/tune/recipe.py",
        "if (family, variant) != (self.family, self.variant):",
        "if family != self.family:",
        ("tests/tune/test_recipe.py",),
    ),
    Mistake(
        "fastface: the second difference is always counted from the negative branch",
        "infusenet/guidance/decoupled.py",
        'e2 - (u if kind == "separate" else e1)',
        "e2 - u",
        ("tests/guidance/test_decoupled.py",),
    ),
    Mistake(
        "fastface: the spread of all three branches is aimed at",
        "infusenet/guidance/decoupled.py",
        "models = [e1, e2]",
        "models = [u, e1, e2]",
        ("tests/guidance/test_decoupled.py",),
    ),
    Mistake(
        "fastface: a = b = 1 is plain whatever is rescaled",
        "infusenet/guidance/decoupled.py",
        "self.rescale == 0 and a == 1 and",
        "a == 1 and",
        ("tests/guidance/test_decoupled.py",),
    ),
    Mistake(
        "fastface: the cosine schedule has a half",
        "infusenet/guidance/schedules.py",
        "return 1 + math.cos(math.pi * x)",
        "return (1 + math.cos(math.pi * x)) / 2",
        ("tests/guidance/test_decoupled.py",),
    ),
    Mistake(
        "fastface: a floor is a ceiling",
        "infusenet/guidance/schedules.py",
        "return [max(floor, base",
        "return [min(floor, base",
        ("tests/guidance/test_decoupled.py",),
    ),
    Mistake(
        "fastface: the edge is a quantile of the map once it is normed",
        "infusenet/guidance/attention.py",
        "_threshold(seen, quantile",
        "_threshold((seen - low) / span, quantile",
        ("tests/guidance/test_attention.py",),
    ),
    Mistake(
        "fastface: the edge is never rounded",
        "infusenet/guidance/attention.py",
        "    if rounded:",
        "    if rounded and False:",
        ("tests/guidance/test_attention.py",),
    ),
    Mistake(
        "fastface: other pictures always count in minima and maxima",
        "infusenet/guidance/attention.py",
        'first = 1 if across == "picture" else 0',
        "first = 0",
        ("tests/guidance/test_attention.py",),
    ),
    Mistake(
        "fastface: other pictures never count in minima and maxima",
        "infusenet/guidance/attention.py",
        'first = 1 if across == "picture" else 0',
        "first = 1",
        ("tests/guidance/test_attention.py",),
    ),
    Mistake(
        "fastface: an inverted token is one minus its mask",
        "infusenet/guidance/attention.py",
        "mask.amax(dim=2, keepdim=True) - mask",
        "1 - mask",
        ("tests/guidance/test_attention.py",),
    ),
    Mistake(
        "fastface: the first token is not turned inside out",
        "infusenet/guidance/manipulation.py",
        "if self.inverted and 0 in order else []",
        "if self.inverted and 0 not in order else []",
        ("tests/guidance/test_attention.py",),
    ),
    Mistake(
        "fastface: the halves of the UNet exchange their scales",
        "infusenet/guidance/manipulation.py",
        'scale_power(attention, self.up if part == "up" else self.down, self.power)',
        'scale_power(attention, self.down if part == "up" else self.up, self.power)',
        ("tests/guidance/test_attention.py",),
    ),
    Mistake(
        "fastface: what is gathered keeps its own moments",
        "infusenet/guidance/manipulation.py",
        "return match_products(match_moments(changed, attention, self.blend), attention, values, self.blend)",
        "return match_moments(changed, attention, self.blend), None",
        ("tests/adapters/test_reshaped_attention.py",),
    ),
    Mistake(
        "fastface: what the identity's channels have in common counts as their spread",
        "infusenet/guidance/attention.py",
        "centred = values - mean\n",
        "centred = values\n",
        ("tests/guidance/test_joint.py",),
    ),
    Mistake(
        "fastface: in a joint attention the gathered moments lose their mean",
        "infusenet/guidance/joint.py",
        "change[:, :, tokens:] = offset.mT",
        "change[:, :, tokens:] = 0",
        ("tests/guidance/test_joint.py",),
    ),
    Mistake(
        "fastface: the middle block is changed too",
        "infusenet/guidance/manipulation.py",
        '"up" if "up" in name else None',
        '"up"',
        ("tests/adapters/test_reshaped_attention.py",),
    ),
    Mistake(
        "fastface: after a run the layers are not put back",
        "infusenet/adapters/ip_adapter/attention.py",
        "layer.set_processor(own[name])",
        "layer.set_processor(processors[name])",
        ("tests/adapters/test_reshaped_attention.py",),
    ),
    Mistake(
        "fastface: every step is the first one to the layers",
        "infusenet/adapters/ip_adapter/adapter.py",
        "self.clock.step = step",
        "self.clock.step = 0",
        ("tests/adapters/test_sdxl_pipeline.py",),
    ),
    Mistake(
        "fastface: nobody's tokens are zeros",
        "infusenet/adapters/ip_adapter/adapter.py",
        "project(nobody, condition.blank)",
        "torch.zeros_like(project(nobody, condition.blank))",
        ("tests/adapters/test_sdxl_pipeline.py",),
    ),
    Mistake(
        "fastface: plus version 2 without its shortcut",
        "infusenet/adapters/ip_adapter/weights.py",
        "projection.shortcut = True",
        "projection.shortcut = False",
        ("tests/adapters/test_sdxl_pipeline.py",),
    ),
    Mistake(
        "fastface: CLIP sees the face in RGB",
        "infusenet/adapters/ip_adapter/encoder.py",
        "torch.from_numpy(crop).permute",
        "torch.from_numpy(crop[..., ::-1].copy()).permute",
        ("tests/adapters/test_sdxl_loading.py",),
    ),
    Mistake(
        "fastface: a LoRA's alpha is not heeded",
        "infusenet/adapters/ip_adapter/lora.py",
        "float(alpha) / len(down)",
        "1.0",
        ("tests/adapters/test_sdxl_loading.py",),
    ),
)


def copy_to(folder: Path) -> None:
    """The package and its tests; weights and recordings, which no mistake touches, as links."""
    large = {ROOT / "infusenet/miniature/weights", ROOT / "tests/goldens"}

    def skip(place: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(place, name) in large or name == "__pycache__"}

    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=skip)
        else:
            shutil.copy(source, folder / name)
    for source in large:
        if source.exists():
            (folder / source.relative_to(ROOT)).symlink_to(source, target_is_directory=True)


def run_tests(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Pytest's exit code and output, stopping at the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    return done.returncode, done.stdout + done.stderr


def tests_the_copy(folder: Path) -> bool:
    """Whether `import infusenet` finds the copy rather than an installed one."""
    command = [sys.executable, "-c", "import infusenet; print(infusenet.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return Path(done.stdout.strip()).resolve().is_relative_to(folder.resolve())


def check(mistake: Mistake) -> None:
    """Exit unless its text is in the code once."""
    found = (ROOT / mistake.file).read_text(encoding="utf-8").count(mistake.right)
    if found != 1:
        print(
            f"{mistake.name}: expected {mistake.right!r} exactly once in {mistake.file}, found it {found} times. Bring "
            "tests/mutate.py up to date with the code."
        )
        sys.exit(2)


def try_mistake(folder: Path, mistake: Mistake) -> str | None:
    """The test that notices, None if none does. The copy is put right again."""
    path = folder / mistake.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mistake.right, mistake.wrong), encoding="utf-8")
    try:
        _, output = run_tests(folder, mistake.tests)
    finally:
        path.write_text(text, encoding="utf-8")
    found = re.search(r"^FAILED (\S+)", output, re.MULTILINE)
    return found[1] if found else None


def commit_number() -> int:
    """A number that every commit has another of; 0 without git."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return int(done.stdout[:8], 16) if done.returncode == 0 else 0


def main(words: list[str]) -> int:
    passed, words = PASSED in words, [word for word in words if word != PASSED]
    every, words = (int(words[1]), words[2:]) if words[:1] == [SHARE] else (1, words)
    chosen = [mistake for mistake in MISTAKES if all(word in mistake.name for word in words)]
    chosen = chosen[commit_number() % every :: every]
    for mistake in MISTAKES:  # all of them, whichever are tried
        check(mistake)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_to(folder)
        if not tests_the_copy(folder):
            print("The tests would import another infusenet than the copy: uninstall it, or run from the checkout.")
            return 2
        tests = tuple(dict.fromkeys(test for mistake in chosen for test in mistake.tests))
        code, output = (0, "") if passed else run_tests(folder, tests)
        if code:
            print(f"{output}\nThe tests must pass before mistakes are made.")
            return 2
        unnoticed = 0
        for mistake in chosen:
            test = try_mistake(folder, mistake)
            unnoticed += test is None
            print(f"{'NOT NOTICED' if test is None else 'noticed'}  {mistake.name}\n         by {test}", flush=True)
    print(f"{len(chosen)} deliberate mistakes, {len(chosen) - unnoticed} noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
