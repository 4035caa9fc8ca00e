"""demo: the shipped data of a workspace. base train: the shipped base model, rebuilt."""

from pathlib import Path
from typing import Annotated

import typer

from app.commands.local import local, quiet_settings
from app.commands.output import JsonOption, TenantOption, answer, tell
from core.settings import PROJECT_ROOT

base = typer.Typer(help="The shipped base model.", no_args_is_help=True)
DEFAULT_BASE = PROJECT_ROOT / "models" / "base" / "rmn-tiny-llama"


def demo(
    write: Annotated[
        bool, typer.Option("--write", help="Generate all demo data anew first: same seed, same bytes.")
    ] = False,
    train_adapters: Annotated[
        bool, typer.Option("--train-adapters", help="Train the three shipped adapters again first.")
    ] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register the shipped datasets and adapters in a workspace. Everything in them is simulated."""
    from core.demo.generate import write_demo_data
    from core.demo.workspace import prepare_workspace

    written: list[Path] = []
    if write:
        tell("• Generating …")
        written = write_demo_data(PROJECT_ROOT / "datasets")
    if train_adapters:
        from app.shipped import train_shipped

        written += train_shipped(quiet_settings(), tell)
    with local(tenant) as here, here.console.database.transaction() as s:
        content = prepare_workspace(
            s, here.principal.tenant_id, project_root=PROJECT_ROOT, now=here.console.clock()
        )
    skipped = content.skipped_adapters
    told = f"{content.datasets} datasets and {content.adapters} adapters are there."
    more = f" Made for another base, so left out: {', '.join(skipped)}." if skipped else ""
    answer(
        {
            "written": [path.relative_to(PROJECT_ROOT) for path in written],
            "datasets": content.datasets,
            "adapters": content.adapters,
            "skipped_adapters": skipped,
        },
        lambda: told + more,
        as_json,
    )


@base.command("train")
def train_base(
    to: Annotated[Path, typer.Option("--to", help="Folder to write.")] = DEFAULT_BASE,
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer steps: sooner done, and worse.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another model of the same kind.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the shipped base model from scratch: about an hour on two CPU cores. A cut run continues."""
    settings = quiet_settings()
    from core.demo.corpus import base_corpus
    from core.training.pretrain import PretrainProgress, PretrainRecipe
    from core.training.pretrain import train_base as train

    def report(progress: PretrainProgress) -> None:
        if progress.step % 20 == 0 or progress.step == progress.steps:
            left = progress.seconds / max(1, progress.step) * (progress.steps - progress.step)
            tell(
                f"step {progress.step}/{progress.steps}, loss {progress.loss:.4f}, about {left / 60:.0f} min left"
            )

    usual = PretrainRecipe()
    recipe = PretrainRecipe(steps=steps or usual.steps, seed=usual.seed if seed is None else seed)
    work_dir = settings.home / "base" / f"{to.name}-{recipe.seed}-{recipe.steps}"
    tell("• Building the tokenizer, then compiling: a minute or more before the first step …")
    card = train(to, base_corpus().documents, recipe, report, work_dir=work_dir)
    answer(
        {
            "path": to,
            **{name: getattr(card, name) for name in ("parameters", "megabytes", "final_loss", "steps")},
        },
        lambda: (
            f"Wrote {to}: {card.parameters:,} parameters, {card.megabytes:.1f} MB, loss {card.final_loss:.4f}."
        ),
        as_json,
    )
