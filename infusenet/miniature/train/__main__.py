"""Train the miniature: `python -m infusenet.miniature.train --folder runs --minutes 9`; repeat until it says done."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

import torch

from .check import check
from .loop import OutOfTimeError, Run
from .sdxl_check import check_sdxl
from .sdxl_stages import train_sdxl
from .stages import PEOPLE, train_all, train_alone


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infusenet.miniature.train", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs"), help="finished and unfinished parts (default: runs)"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time, with everything saved")
    parser.add_argument(
        "--until",
        default="",
        help="stop after this stage: perception, dev, adapter, schnell; of sdxl: vae, unet, faceid",
    )
    parser.add_argument("--only", choices=["judging", "sdxl"], help="train (and export) only this")
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"drawn people to learn from (default: {PEOPLE})")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiplies all step counts (0.001 is enough to try the code)"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true", help="do not compile the transformer blocks")
    parser.add_argument(
        "--check", type=Path, help="check the finished parts: figures go to the log, sheets into this folder"
    )
    parser.add_argument("--export", type=Path, help="write the weight folders here when all parts are done")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)9.0f %(message)s", stream=sys.stdout)
    torch.backends.cuda.enable_cudnn_sdp(False)  # its backward faults at heads of 24
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    os.makedirs(options.folder, exist_ok=True)
    device = torch.device(options.device)
    deadline = time.monotonic() + 60 * options.minutes
    run = Run(options.folder, device, deadline, compile=device.type == "cuda" and not options.no_compile)
    try:
        if options.only == "sdxl":
            train_sdxl(run, options.people, options.scale, options.until, options.export)
        elif options.only:
            train_alone(run, options.people, options.scale, options.export)
        else:
            train_all(run, options.people, options.scale, options.until, options.export)
        logging.info("done")
    except OutOfTimeError as stop:
        logging.info("%s", stop)
    if options.check is not None:
        options.check.mkdir(parents=True, exist_ok=True)
        (check_sdxl if options.only == "sdxl" else check)(run, options.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
