import pytest
import torch

from core.training.muon import Float32Muon, orthogonalize


@pytest.mark.parametrize("shape", [(24, 24), (12, 40), (40, 12)])
def test_singular_values_go_to_about_one(shape: tuple[int, int]):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.linspace(0.2, 3.0, shape[1]))
    before = torch.linalg.svdvals(matrix)
    after = torch.linalg.svdvals(orthogonalize(matrix))
    assert before.max() / before.min() > 3
    assert after.min() > 0.3
    assert after.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert (
        torch.nn.functional.cosine_similarity(orthogonalize(matrix).ravel(), (left @ right).ravel(), 0) > 0.95
    )


def test_it_steps_as_muon_of_torch_does():
    torch.manual_seed(1)
    start, gradients = torch.randn(16, 8), [torch.randn(16, 8) for _ in range(5)]
    ends = []
    for kind in (torch.optim.Muon, Float32Muon):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = kind([parameter], lr=0.02, momentum=0.95, weight_decay=0.1)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameter.detach())
    moved = (ends[0] - start).norm()
    assert (ends[0] - ends[1]).norm() < 0.02 * moved  # bfloat16 has 8 bits


def test_a_checkpoint_of_the_one_goes_on_with_the_other():
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    first = torch.optim.Muon([parameter], lr=0.1)
    parameter.grad = torch.eye(4)
    first.step()
    second = Float32Muon([parameter], lr=0.1, momentum=0.95, weight_decay=0.1)
    state = second.state_dict()
    state["state"] = first.state_dict()["state"]
    second.load_state_dict(state)
    assert torch.equal(second.state[parameter]["momentum_buffer"], first.state[parameter]["momentum_buffer"])


def test_a_matrix_without_a_gradient_stays():
    parameter = torch.nn.Parameter(torch.ones(3, 3))
    Float32Muon([parameter], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.equal(parameter.detach(), torch.ones(3, 3))
