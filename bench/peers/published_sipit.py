"""SipIt as published (arXiv 2510.15511), re-told in PyTorch: the peer that our inverter is compared with.

    python bench/peers/published_sipit.py weights prompts.json --layer 6 --policy gradient -o out.json

prompts.json is a list of lists of token ids. Needs torch and transformers; no part of the package or of its tests.

Faithful to the algorithm as the paper and its readers describe it (the authors' code was not at hand):
- the states of every position of one layer are given; the tokens are recovered from the first to the last;
- gradient policy: a proxy embedding starts at the row of a random token; per candidate one descent step on
  1/2 |F(e) - h|^2 (gradient norm clipped to 1, step size 1), then the untried token whose row is nearest to the proxy;
  every 50 candidates the proxy is put on the nearest untried row;
- random policy: the vocabulary in the order of one permutation, drawn anew for each position;
- one candidate a forward pass: batch 1, no key-value cache, every block runs whatever the layer
  (output_hidden_states); a candidate is accepted when allclose(state, target, rtol 1e-5, atol 1e-5) in each coordinate;
- the targets are recomputed prefix by prefix, with the very shapes of the search.

Its weak points are kept on purpose: no margin, no look at a rival, and where no token of the vocabulary is accepted the
last one tried is taken in silence. `--states ordinary` takes the targets from one forward over the whole prompt, as a
user would have them: rounding differs with the shape, and `--atol` has to make room for it.

Chosen where the paper leaves it open: the proxy steps before the first candidate, and starts anew at each position.
Departures: ln_f is left out, so that layer L is the residual state that we invert and not, as in transformers, the
state after ln_f; the output head, which output_hidden_states does not need, is not run.

Forward equivalents are those of src/sipit/cost.ts: matrix products of blocks, in units of one forward over the prompt
up to the layer, T rows x l blocks. A forward over t rows counts t x L, for all L blocks run. The way back to the proxy
counts t x l: with frozen weights it has one product for each of the forward, and only blocks 1..l lie on it. The search
for the nearest row is elementwise (a few percent) and not counted. Neither work nor seconds contain the targets.
"""

import argparse
import json
import time

import torch
import transformers

RTOL = 1e-5
STEP_SIZE = 1.0
MAX_GRADIENT_NORM = 1.0
PROJECT_EVERY = 50


class OneStepMap:
    """F(e; prefix): the state after block `layer` at the last row. Sums its work in rows x blocks."""

    def __init__(self, model, layer):
        self.model, self.layer, self.work = model, layer, 0

    def __call__(self, prefix, e):  # (t - 1, d), (d) -> (d)
        rows = torch.cat([prefix, e[None]])
        self.work += len(rows) * self.model.config.n_layer
        return states_of(self.model, rows, self.layer)[-1]

    def gradient(self, prefix, e, target):
        """Gradient of 1/2 |F(e) - target|^2 with respect to e -> (d)."""
        proxy = e.clone().requires_grad_()
        loss = (self(prefix, proxy) - target).square().sum() / 2
        self.work += (len(prefix) + 1) * self.layer
        return torch.autograd.grad(loss, proxy)[0]


def states_of(model, rows, layer):  # (t, d) -> (t, d)
    return model(inputs_embeds=rows[None], output_hidden_states=True, use_cache=False).hidden_states[layer][0]


def random_policy(vocabulary_size):
    """Yields every token once."""
    yield from torch.randperm(vocabulary_size).tolist()


def gradient_policy(one_step, embeddings, prefix, target):
    """Yields every token once, the nearest to a descending proxy first."""
    untried = torch.ones(len(embeddings), dtype=torch.bool)

    def nearest(e):
        distances = (embeddings - e).norm(dim=1)  # (V)
        return int(distances.masked_fill(~untried, torch.inf).argmin())

    e = embeddings[int(torch.randint(len(embeddings), ()))]  # (d)
    for proposed in range(1, len(embeddings) + 1):
        gradient = one_step.gradient(prefix, e, target)
        e = e - STEP_SIZE * gradient * min(1.0, MAX_GRADIENT_NORM / max(float(gradient.norm()), 1e-30))
        token = nearest(e)
        untried[token] = False
        yield token
        if proposed % PROJECT_EVERY == 0:
            e = embeddings[nearest(e)]


def invert(one_step, embeddings, targets, policy, atol, limit_seconds):
    """Recovers the tokens of targets (T, d) -> tokens, candidates tried at each position, whether the time sufficed.

    Out of time, the position begun has its count but no token.
    """
    deadline = time.perf_counter() + (limit_seconds or float("inf"))
    tokens, candidates = [], []
    for target in targets:
        prefix = embeddings[tokens]  # (t - 1, d)
        if policy == "random":
            proposals = random_policy(len(embeddings))
        else:
            proposals = gradient_policy(one_step, embeddings, prefix, target)
        candidates.append(0)
        for token in proposals:
            candidates[-1] += 1
            with torch.no_grad():
                state = one_step(prefix, embeddings[token])
            if torch.allclose(state, target, rtol=RTOL, atol=atol):
                break
            if time.perf_counter() > deadline:
                return tokens, candidates, False
        tokens.append(token)
    return tokens, candidates, True


@torch.no_grad()
def targets_of(model, rows, layer, kind):
    """The given states (T, d): of the growing prefixes, as the paper has them, or of one forward over all rows."""
    if kind == "ordinary":
        return states_of(model, rows, layer)
    return torch.stack([states_of(model, rows[: t + 1], layer)[-1] for t in range(len(rows))])


def main():
    parser = argparse.ArgumentParser(description="SipIt as published, in PyTorch (CPU, f32).")
    parser.add_argument("model", help="folder of a GPT-2 checkpoint")
    parser.add_argument("prompts", help="JSON file: a list of lists of token ids")
    parser.add_argument("--layer", type=int, required=True, help="states after this block, 1 to the number of blocks")
    parser.add_argument("--policy", choices=["gradient", "random"], default="gradient")
    parser.add_argument("--states", choices=["prefixes", "ordinary"], default="prefixes")
    parser.add_argument("--atol", type=float, default=1e-5)
    parser.add_argument("--limit-seconds", type=float, help="for each prompt")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", required=True, help="JSON file to write")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    model = transformers.GPT2Model.from_pretrained(options.model, dtype=torch.float32).eval().requires_grad_(False)
    model.ln_f = torch.nn.Identity()
    if not 1 <= options.layer <= model.config.n_layer:
        parser.error(f"--layer {options.layer}: the model has blocks 1 to {model.config.n_layer}")
    with open(options.prompts, encoding="utf8") as file:
        prompts = json.load(file)
    embeddings = model.wte.weight  # (V, d)

    results = []
    for truth in prompts:
        targets = targets_of(model, embeddings[truth], options.layer, options.states)
        one_step = OneStepMap(model, options.layer)
        start = time.perf_counter()
        tokens, candidates, finished = invert(
            one_step, embeddings, targets, options.policy, options.atol, options.limit_seconds
        )
        seconds = time.perf_counter() - start
        exact = tokens == truth
        equivalents = one_step.work / (len(truth) * options.layer)
        results.append({
            "truth": truth,
            "tokens": tokens,
            "exact": exact,
            "finished": finished,
            "candidates": candidates,
            "forwardEquivalents": equivalents,
            "seconds": seconds,
        })
        print(
            f"layer {options.layer}, {options.policy}: {len(truth)} tokens, {'exact' if exact else 'NOT exact'}, "
            f"{sum(candidates) / len(candidates):.1f} candidates a token, "
            f"{equivalents:.0f} equivalents, {seconds:.1f} s",
            flush=True,
        )
    run = vars(options) | {"torch": torch.__version__, "transformers": transformers.__version__}
    with open(options.output, "w", encoding="utf8") as file:
        json.dump({"run": run, "prompts": results}, file, indent=1)


if __name__ == "__main__":
    main()
