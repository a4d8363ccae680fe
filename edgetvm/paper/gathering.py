"""All that there is to compare, in one call: bundles, runs and profiles in, a comparison out."""

from collections.abc import Sequence

import msgspec

from edgetvm.errors import UsageError
from edgetvm.paper.boards import compare_boards, load_board_latencies
from edgetvm.paper.claim_check import check_claims
from edgetvm.paper.claims import load_claims
from edgetvm.paper.comparison import Comparison, compare
from edgetvm.paper.evidence import read_evidence
from edgetvm.paper.figures import Paper, load_papers
from edgetvm.paper.modelled_figures import compare_modelled
from edgetvm.paths import DataFolders


def gather(folders: DataFolders, target: str | None = None, arxiv: str | None = None) -> Comparison:
    """Compare everything that was built and measured for `target`, for every target if it is None.

    Parameters
    ----------
    arxiv : number of the paper to whose figures and claims to keep; None for all.

    Raises
    ------
    UsageError
        No bundle was deployed yet, or `target` or `arxiv` is unknown.
    """
    papers, claims = load_papers(), load_claims()
    if arxiv is not None:
        _require_known(arxiv, papers)
    evidence = read_evidence(folders, target)
    runs = [run for one in evidence for run in one.runs]
    boards = load_board_latencies()
    modelled = compare_modelled(evidence, papers, boards)
    if not runs and not modelled:
        raise UsageError("No bundle was deployed yet. Do it now: python -m edgetvm.deploy")
    networks = {
        (one.target, model): network for one in evidence for model, network in one.networks.items()
    }
    kept = [paper for paper in papers if arxiv in (None, paper.arxiv)]
    return msgspec.structs.replace(
        compare(runs, kept, networks),
        claims=check_claims(
            [claim for claim in claims if arxiv in (None, claim.arxiv)], papers, evidence
        ),
        boards=compare_boards(evidence, boards),
        modelled=modelled,
    )


def _require_known(arxiv: str, papers: Sequence[Paper]) -> None:
    known = [paper.arxiv for paper in papers]
    if arxiv not in known:
        raise UsageError(f"No figures of a paper {arxiv!r}; those there are: {', '.join(known)}.")
