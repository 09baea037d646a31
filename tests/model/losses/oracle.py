"""The contrastive loss written down a second time: dense, double precision, sets and loops for what counts.

It shares no code with the loss. Its gradients come from autograd over this very text.
"""

from torch import Tensor

INF = float("inf")
HARDNESS = {"in_batch": (True, False), "hard": (False, True), "all": (True, True)}


def oracle(query: Tensor, document: Tensor, pairing, config, temperature, dimensions) -> Tensor:
    """Loss of a whole batch; ``temperature`` is a float or a tensor."""
    rules = Rules(query, document, pairing, config, max(dimensions))
    total, prefixes = 0.0, sorted(set(dimensions))
    for width in prefixes:
        cosine = {a + b: cosines(x, y, width) for a, x in rules.sides.items() for b, y in rules.sides.items()}
        for j in rules.anchors:
            i = rules.owner[j]
            top = cosine["qd"][i, j] / temperature
            sums = {}
            for term in config.terms:
                kind, row, members = rules.negatives(term, i, j)
                near = [cosine[kind][row, m] for m, _ in members]
                extra = [rules.strength(own) for _, own in members]
                sums[term] = sum((c / temperature + h * c.detach()).exp() for c, h in zip(near, extra, strict=True))
            groups = [list(sums.values())] if config.partition == "joint" else [[value] for value in sums.values()]
            for values in groups:
                share = top.exp() / (top.exp() + sum(values))
                weight = 1 / (len(query) * len(rules.positives[i]) * len(prefixes) * len(groups))
                total = total - weight * share.log()
    return total


def cosines(one: Tensor, other: Tensor, width: int) -> Tensor:
    a, b = one[:, :width], other[:, :width]
    return (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).T


class Rules:
    """Who is whose negative."""

    def __init__(self, query: Tensor, document: Tensor, pairing, config, width: int) -> None:
        self.sides = {"q": query, "d": document}
        self.full = {a + b: cosines(x, y, width).tolist() for a, x in self.sides.items() for b, y in self.sides.items()}
        self.config, self.rules = config, config.false_negatives
        self.owner, self.positive = pairing.owner_M.tolist(), pairing.positive_M.tolist()
        self.anchors = [j for j in range(len(document)) if self.positive[j]]
        self.positives = {i: [j for j in self.anchors if self.owner[j] == i] for i in range(len(query))}
        self.key = {"q": pairing.query_key_N.tolist(), "d": pairing.document_key_M.tolist()}
        self.group = {"q": pairing.group_N.tolist(), "d": pairing.group_M.tolist()}
        self.label = {"q": pairing.label_N.tolist(), "d": pairing.label_M.tolist()}
        self.keys = {i: {self.key["d"][j] for j in own if self.key["d"][j] >= 0} for i, own in self.positives.items()}

    def negatives(self, term: str, i: int, j: int) -> tuple[str, int, list[tuple[int, bool]]]:
        """Matrix, its row, and the negatives in it of the anchor (i, j); each with: is it i's own hard negative?"""
        own, best = self.full["qd"][i][j], max(self.full["qd"][i][d] for d in self.positives[i])
        queries, documents = range(len(self.sides["q"])), range(len(self.sides["d"]))
        if term == "query_to_document":
            found = [d for d in documents if self.opposed(i, d) and self.full["qd"][i][d] <= self.limit(best)]
            return "qd", i, [(d, self.owner[d] == i) for d in found]
        if term == "document_to_query":
            found = [a for a in queries if self.opposed(a, j) and self.full["qd"][a][j] <= self.limit(own)]
            return "dq", j, [(a, False) for a in found if a != i]
        if term == "query_to_query":
            found = [a for a in queries if a != i and self.apart("q", i, "q", a) and not self.asks_same(i, a)]
            found = [a for a in found if not (self.rules.same_positive and self.keys[i] & self.keys[a])]
            return "qq", i, [(a, False) for a in found if self.full["qq"][i][a] <= self.limit(best)]
        found = [d for d in documents if self.owner[d] != i and self.apart("d", j, "d", d)]
        found = [d for d in found if not (self.positive[d] and self.asks_same(i, self.owner[d]))]
        if self.rules.same_positive:
            found = [d for d in found if self.key["d"][d] not in self.keys[i]]
            key = self.key["d"][j]
            found = [d for d in found if not (self.positive[d] and key in self.keys[self.owner[d]])]
        return "dd", j, [(d, False) for d in found if self.full["dd"][j][d] <= self.limit(own)]

    def opposed(self, a: int, d: int) -> bool:
        """Whether query a and document d may be negatives of one another."""
        own = self.owner[d] == a
        if own and self.positive[d]:
            return False
        if self.rules.same_positive and self.key["d"][d] in self.keys[a]:
            return False
        if self.rules.labels != "none" and self.label["q"][a] == self.label["d"][d] >= 0:
            return False
        if own:
            return True
        if self.config.negatives == "own" or not self.apart("q", a, "d", d):
            return False
        return not (self.positive[d] and self.asks_same(a, self.owner[d]))

    def apart(self, one: str, a: int, other: str, b: int) -> bool:
        same_group = self.rules.same_group and self.group[one][a] == self.group[other][b] >= 0
        same_label = self.rules.labels != "none" and self.label[one][a] == self.label[other][b] >= 0
        return not same_group and not same_label

    def asks_same(self, a: int, b: int) -> bool:
        return self.rules.same_query and self.key["q"][a] == self.key["q"][b] >= 0

    def limit(self, similarity: float) -> float:
        margin, ratio = self.rules.margin, self.rules.ratio
        above = INF if margin is None else similarity + margin
        return min(above, INF if ratio is None else similarity - (1 - ratio) * abs(similarity))

    def strength(self, own_hard: bool) -> float:
        if self.config.hardness is None:
            return 0.0
        return self.config.hardness.strength * HARDNESS[self.config.hardness.on][own_hard]
