# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 10 · CLIP and prompts
#
# A CLIP model has read captions on the web. Nobody ever gave it a label of the sixty bird species you will see
# here, and still it sorts their photographs, if you describe the species in words. *Which* words is up to you.
# First, what that choice does.

# %% tags=["setup"]
import re

import torch
import torch.nn.functional as F
from IPython.display import display
from torch import Tensor, nn

import labkit
from labkit import answer, check, data, engine, models, views
from labkit.bench import interval, paired, read_results
from labkit.data.prompts import templates
from labkit.engine.calibration import fit_temperature, reliability
from labkit.methods.coop import prompt_accuracy, train_prompts
from labkit.models.prompt_words import layout, nearest_words
from labkit.models.prompts import PromptLearner, embed
from labkit.views import Table, show
from labkit.views import prompts as figures

p = labkit.profile().lab(10)
torch.set_num_threads(p.threads)
results = read_results("lab10")

# %% tags=["nbval-check-output"]
rows = sorted(results.select(experiment="templates"), key=lambda row: row["test"])
shown = [[row["template"], f"{100 * row['test']:.1f}"] for row in (rows[0], rows[-1])]
note = (
    "The worst and the best of the templates tried, by test accuracy. {} stands for the species' name,"
    " {description} for a list of all its parts and colours."
)
print(Table(["the text for each species", "test accuracy, %"], shown, note=note))

# %% [markdown]
# The same network, the same images, not one training label: between these two rows only the words differ. So the text you
# hand to a CLIP model is a part of the classifier, and it deserves the care you would give to weights: measured,
# chosen on validation images, and perhaps *learned*.
#
# **You will be able to**
# - *build* a zero-shot classifier from text, and say what its logit scale does;
# - *combine* templates the right way, and *judge* what that buys;
# - *measure* whether the classifier's probabilities can be trusted, and mend them;
# - *implement* CoOp: a prompt whose words are learned vectors, trained through a frozen text tower;
# - *decide* when words, a learned context or a linear probe is the right tool.
#
# **You need** PyTorch's basics and lab 01; lab 08 helps. **It takes** 60 to 90 minutes; the computing takes two
# to three minutes on a laptop's CPU, and about a quarter of an hour with the `gpu` profile (a ViT-B-16 and
# CUB-200; its tables remain those of the miniature). The runs over many seeds were computed for you; each table
# names the command that repeats them.
#
# **Predict.** Sixteen labelled photographs of each species: by how many points of test accuracy will a *learned*
# prompt around the species' names beat the best prompt you can write around them? Write your guess into the next cell;
# we come back to it.
#
# ## 1 · A model that was never told the classes
# `aviary-clip` is a small CLIP: an image tower and a text tower, trained together on captioned pictures of birds.
# Every *word* below occurred in those captions; the species you will classify did not. All images are encoded
# once, here, and from then on they are rows of a matrix.

# %%
my_guess = 1.0  # points of test accuracy: put your own number here
device = "cuda" if torch.cuda.is_available() else "cpu"
vlm = models.load_vlm(p.vlm, device)
birds = data.load(p.data)
banks = {name: engine.FeatureBank(vlm, getattr(birds, name)) for name in ("train", "val", "test")}
image_features = {name: bank.features() for name, bank in banks.items()}  # (N, E) each
labels = {name: bank.labels for name, bank in banks.items()}
print(birds.describe())
print(f"{p.vlm}: {vlm.embed_dim} numbers per image or text, texts of at most {vlm.context_length} tokens")
pick = [int((labels["val"] == c).nonzero()[0]) for c in range(4)]
titles = ["\n".join(birds.classes[c].rsplit(" ", 1)) for c in range(4)]
pictures = views.plot_images(birds.val.fetch(pick), titles, columns=4, size=2)
show(pictures, "Four photographs of birds of one family that differ only in small parts, under their names")

# %% [markdown]
# **See:** these four differ in two small parts, and the names say in which. That is what fine-grained means.
#
# ## 2 · The zero-shot head
# **Why.** CLIP was trained so that an image and its caption point in the same direction of one common space. So
# encode one text per class and ask which of them each image points to. The classifier's weights are *texts*.
#
# **Formula.** With image features $x$, shape $(B, E)$, and text features $u$, shape $(C, E)$:
#
# $$ v_b = \frac{x_b}{\lVert x_b \rVert}, \qquad w_c = \frac{u_c}{\lVert u_c \rVert}, \qquad
#    z_{bc} = s \; v_b^{\top} w_c \tag{1} $$
#
# $z$ has shape $(B, C)$. A cosine lies between $-1$ and $1$; the *logit scale* $s$ was learned with the towers (as
# $\ln s$, and what you get here is $s$ itself). It is one over a temperature.
#
# **By hand.** One image $x = (3, 4)$, two classes $u_1 = (0, 2)$ and $u_2 = (1, 0)$, $s = 10$. Directions: $(0.6,
# 0.8)$, $(0, 1)$, $(1, 0)$. Cosines $0.8$ and $0.6$, logits $8$ and $6$, probabilities $0.88$ and $0.12$. Without
# the scale they would be $0.55$ and $0.45$; without normalising, the logits would be $80$ and $30$.


# %% exercise="10-zero-shot" look="section 2, formula (1)"
def zero_shot_logits(image_features: Tensor, text_features: Tensor, scale: float) -> Tensor:
    """Logits of a zero-shot classifier, formula (1).

    image_features: (B, E); text_features: (C, E), one per class; neither need be normalised.
    scale: s > 0, already exponentiated. Returns (B, C).
    F.normalize(x, dim=-1) divides every row by its length.
    """
    # BEGIN SOLUTION
    v = F.normalize(image_features, dim=-1)
    w = F.normalize(text_features, dim=-1)
    return scale * v @ w.T
    # END SOLUTION


# %% check="10-zero-shot"
check("10-zero-shot", zero_shot_logits)

# %% answer="10-zero-shot"
zero_shot_logits = answer("10-zero-shot", zero_shot_logits)

# %%
# Your head on one image that it gets right: its five nearest texts, as the softmax of cosines and with the learned scale.
texts = birds.prompts("a photo of a {}")
by_name = vlm.encode_text(texts).cpu()
right = zero_shot_logits(image_features["val"], by_name, 1.0).argmax(1) == labels["val"]
chosen = int(right.nonzero()[0])
one, name = image_features["val"][chosen][None], birds.classes[labels["val"][chosen]]
near = zero_shot_logits(one, by_name, 1.0)[0].topk(5).indices
guesses = {
    how: zero_shot_logits(one, by_name, s).softmax(1)[0, near].tolist()
    for how, s in {"s = 1: cosines": 1.0, f"s = {vlm.logit_scale:.1f}: as learned": vlm.logit_scale}.items()
}
names = [birds.classes[c] for c in near.tolist()]
fig = figures.plot_guess(birds.val.fetch([chosen])[0] / 255, "\n".join(name.rsplit(" ", 1)), names, guesses)
show(fig, f"A {name}, and two bar charts over five species: nearly flat, and peaked")

# %% [markdown]
# **See:** the order is the same on both sides. Without the scale a confident model looks as if it knew nothing.
#
# ## 3 · The words around the name
# **Why.** CLIP read captions, not bare labels. A *template* such as "a photo of a {}" makes the text look more like
# what it was trained on. Beside a name you can also hand over a description; CLIP reads any text.
#
# Two things to watch. Texts are cut at the context length without a word of warning: count the tokens (the start
# and the end token included). And a template is a *choice*, so it is made on validation images; the test images
# come at the end.


# %%
def judged(logits, split):
    """Accuracy and its 95 % interval over images, calibration and more, of logits for a whole split."""
    return engine.Evaluation(logits, labels[split], birds.classes)


named = templates(p.data)
text_features = {t: vlm.encode_text(birds.prompts(t)).cpu() for t in [*named, *p.described]}
s = vlm.logit_scale
logits = {t: zero_shot_logits(image_features["val"], u, s) for t, u in text_features.items()}
val = {t: judged(z, "val") for t, z in logits.items()}
groups = {"around the name": named, "around the list of parts": p.described}
fig = figures.plot_templates(
    {name: {t: val[t] for t in members} for name, members in groups.items() if members}
)
fig.axes[0].set_title("What you say matters more than how you say it")
show(fig, "Validation accuracy of each template with its interval; with a list of parts it is far higher")
best_named = max(named, key=lambda t: val[t].accuracy)
best_words = max(val, key=lambda t: val[t].accuracy)
longest = max(len(vlm.tokenizer.encode(text)) + 2 for text in birds.prompts(best_words))
print(f'best around the name: "{best_named}"')
print(f'best of all: "{best_words}", at most {longest} of {vlm.context_length} tokens')

# %% [markdown]
# **See:** how many of the differences around the *name* would you bet on, given the intervals? An odd frame may well
# come out on top by luck; the test images will tell. The list of parts lies clear of them all: a name mentions two
# details of the bird, the list every one. What you say matters more than how you say it.
#
# ## 4 · Prompt ensembling
# **Why.** Every template adds its own accident to a class's vector. Averaging several templates keeps what they
# share: the class.
#
# **Formula.** Text features $u$ of $R$ templates, shape $(R, C, E)$:
#
# $$ w_c = \mathrm{normalise}\Big( \frac{1}{R} \sum_{r=1}^{R} \mathrm{normalise}(u_{rc}) \Big), \qquad
#    z_{bc} = s \; v_b^{\top} w_c \tag{2} $$
#
# Normalise, average, normalise again. The result is *one* head $(C, E)$: however many templates you average, an
# image costs the same. Averaging the $R$ classifiers' probabilities is another method, which costs $R$ heads.
#
# **By hand.** One class, two templates, $u_1 = (1, 0)$ and $u_2 = (0, 9)$. Directions $(1, 0)$ and $(0, 1)$, mean
# $(0.5, 0.5)$ of length $0.71$, so $w = (0.71, 0.71)$. Averaged before normalising it would be $(0.11, 0.99)$: the
# longer vector takes it all. Without the second normalisation, classes whose templates disagree get shorter
# weights, and lower logits for every image.


# %% exercise="10-ensemble" look="section 4, formula (2)"
def ensemble_logits(image_features: Tensor, text_features: Tensor, scale: float) -> Tensor:
    """Logits with several templates per class, formula (2).

    image_features: (B, E); text_features: (R, C, E), R templates; neither need be normalised. Returns (B, C).
    """
    # BEGIN SOLUTION
    w = F.normalize(text_features, dim=-1).mean(0)
    return zero_shot_logits(image_features, w, scale)
    # END SOLUTION


# %% check="10-ensemble"
check("10-ensemble", ensemble_logits)

# %% answer="10-ensemble"
ensemble_logits = answer("10-ensemble", ensemble_logits)

# %%
# All templates of section 3 together, beside each alone; then random subsets of every size.
stack = torch.stack([text_features[t] for t in named])  # (R, C, E)
draws = torch.Generator().manual_seed(0)
sizes = range(1, len(named) + 1)
subsets = {m: [torch.randperm(len(named), generator=draws)[:m] for _ in range(12)] for m in sizes}
spread = {
    m: [judged(ensemble_logits(image_features["val"], stack[c], s), "val").accuracy for c in subsets[m]]
    for m in sizes
}
fig = views.plot_seeds(
    {f"{m} template{'s' * (m > 1)}": spread[m] for m in sizes}, xlabel="validation accuracy"
)
fig.axes[0].set_title("More templates: less luck. A point is a random choice, a bar the mean")
show(fig, "Validation accuracy of random sets of templates: the points close up as the sets grow")

# %% [markdown]
# **See:** the mean hardly moves beyond two templates, and single ones may beat the ensemble. Its gift is *safety*: the
# spread shrinks, and you need no validation images to choose a template. (At the full number the spread is zero because
# there is only one set of all of them.)
#
# ## 5 · Can you trust its probabilities?
# **Why.** A zero-shot classifier is often used because there are no labels, and then its confidence is all you
# have. A model is *calibrated* if of all predictions made with confidence 0.7 about 70 % are right.
#
# Sort the predictions into bins of confidence. In bin $k$, with a share $n_k / n$ of the images, compare the mean
# confidence $\mathrm{conf}_k$ with the accuracy $\mathrm{acc}_k$; the *expected calibration error* is
#
# $$ \mathrm{ECE} = \sum_k \frac{n_k}{n} \; \big| \mathrm{acc}_k - \mathrm{conf}_k \big| \tag{3} $$
#
# **By hand.** Two bins: 60 images with mean confidence 0.9, of which 48 are right (0.8); 40 images with 0.4, of
# which 20 are right (0.5). $\mathrm{ECE} = 0.6 \cdot 0.1 + 0.4 \cdot 0.1 = 0.1$.
#
# The logit scale decides how sharp the probabilities are, and not at all which class wins. *Temperature scaling*
# fits one number $T$ on validation images, such that the cross-entropy of $z / T$ is least.

# %%
test_logits = zero_shot_logits(image_features["test"], text_features[best_words], s)
temperature = fit_temperature(logits[best_words], labels["val"])
panels = {"cosines": 1.0, "learned": s, "fitted": s / temperature}  # the scale of each
panels = {
    f"{name}, s = {scale:.1f}": reliability(scale / s * test_logits, labels["test"])
    for name, scale in panels.items()
}
show(
    figures.plot_reliability(panels),
    "Reliability: no confidence at all; too little of it; along the diagonal",
)
fig = figures.plot_scales(test_logits, labels["test"], p.scales, {"learned": 1.0, "fitted": 1 / temperature})
show(
    fig,
    "Expected calibration error against the scale: high on the left, least at the fitted one, then rising",
)
display(figures.scale_slider(test_logits, labels["test"], s))

# %% [markdown]
# **See:** every panel has the same accuracy. Too small a scale is a model that never dares, too large a one that never
# doubts. The learned scale was fitted to *matching captions in batches*, many of which describe nearly the same
# bird: no law says that it suits your classes. Here it is far too timid; measure it before you trust it. (In a live
# notebook, move the slider to both ends.) The scale comes back in lab 12, as a teacher's temperature.
#
# ## 6 · A prompt with learned words
# **Why.** If words can be chosen on data, they can be *learned*. A text tower never sees words: it sees one vector
# per token. CoOp keeps the class name's vectors and learns the others, $V_1 \ldots V_M$, by gradient descent. Both
# towers stay frozen; what is learned is a few hundred numbers, shared by all classes.
#
# **Layout.** $C$ classes, $L$ tokens each, embeddings of width $W$. The start token is the *prefix* $(C, 1, W)$,
# the context $V$ is $(M, W)$, and the *suffix* $(C, L-1-M, W)$ holds name, full stop, end token and padding:
#
# | position | tokens |
# |---|---|
# | `end` | start, $V_1 \ldots V_M$, **name**, full stop, end, padding |
# | `middle` | start, first $\lfloor M/2 \rfloor$ of $V$, **name**, the rest of $V$, full stop, end, padding |
# | `front` | start, **name**, $V_1 \ldots V_M$, full stop, end, padding |
#
# Names have different lengths: `lengths[c]` rows at the start of `suffix[c]` are the name.
#
# **By hand.** $M = 3$ and a name of two tokens, `middle`: start, $V_1$, name$_1$, name$_2$, $V_2$, $V_3$, full
# stop, end. Eight tokens in any order; the end token never moves.


# %% exercise="10-assemble" look="section 6, the table of layouts"
def assemble(prefix: Tensor, context: Tensor, suffix: Tensor, lengths: list[int], position: str) -> Tensor:
    """Embedded prompts of all classes.

    prefix: (C, 1, W); context: (M, W), learned; suffix: (C, L - 1 - M, W), begins with each class's name;
    lengths: number of tokens of each name; position: "end", "middle" or "front". Returns (C, L, W).
    """
    # BEGIN SOLUTION
    before = {"end": len(context), "middle": len(context) // 2, "front": 0}[position]
    prompts = []
    for start, rest, n in zip(prefix, suffix, lengths, strict=True):
        name, end = rest[:n], rest[n:]
        prompts.append(torch.cat([start, context[:before], name, context[before:], end]))
    return torch.stack(prompts)
    # END SOLUTION


# %% check="10-assemble"
check("10-assemble", assemble)

# %% answer="10-assemble"
assemble = answer("10-assemble", assemble)

# %%
# labkit's PromptLearner does the same (with one gather instead of a loop). One class, spelled out:
for position in p.positions:
    learner = PromptLearner(vlm, birds.classes, n_ctx=4, position=position)
    yours = assemble(learner.prefix, learner.context, learner.suffix, learner.lengths, position)
    assert torch.equal(yours, learner.assembled()), "your layout and labkit's should agree"
    print(f"{position:>6}: {layout(learner)}")

# %% [markdown]
# ## 7 · Through the frozen tower
# **Why.** `encode_text` starts from token ids, and your prompts no longer have any: you enter one step later, with
# embeddings. What follows is what open_clip does inside.
#
# **Formula.** With prompts $P$, shape $(C, L, W)$, and the token ids, shape $(C, L)$, that say where each text ends:
#
# $$ H = \mathrm{LN}\big(\mathrm{Transformer}(P + \mathrm{positions})\big), \qquad
#    w_c = \mathrm{normalise}\big( H_{c, e_c} \, A \big), \qquad e_c = \text{place of the end token} \tag{4} $$
#
# $A$, shape $(W, E)$, is the projection into the common space. The transformer is *causal*: a row sees only the rows
# before it and itself. The end token's row is the first that has read the whole text, and the one that CLIP was trained
# with. Its id is the largest of the vocabulary: `tokens.argmax(1)` gives its place.
#
# **By hand.** Ids `start=98, 7, 12, end=99, 0, 0`: the largest is 99, at place 3. Row 5, the last, is padding.
#
# **Frozen is not `no_grad`.** The tower's weights must not change, so they have `requires_grad=False`. But the
# gradient has to travel *through* the tower to reach $V$: no `torch.no_grad()` here.


# %% exercise="10-encode-prompts" look="section 7, formula (4)"
def encode_prompts(clip: nn.Module, prompts: Tensor, tokens: Tensor) -> Tensor:
    """Class vectors of embedded prompts, formula (4).

    prompts: (C, L, W); tokens: (C, L) ids, the end token is the largest of each row. Returns (C, E), unit norm.
    Of clip you need positional_embedding (L, W), transformer(x, attn_mask=...), attn_mask, ln_final, and
    text_projection (W, E), an ordinary tensor.
    """
    # BEGIN SOLUTION
    x = prompts + clip.positional_embedding
    x = clip.transformer(x, attn_mask=clip.attn_mask)
    x = clip.ln_final(x)
    x = x[torch.arange(len(x)), tokens.argmax(1)] @ clip.text_projection
    return F.normalize(x, dim=-1)
    # END SOLUTION


# %% check="10-encode-prompts"
check("10-encode-prompts", encode_prompts)

# %% answer="10-encode-prompts"
encode_prompts = answer("10-encode-prompts", encode_prompts)

# %%
# The test of every such wrapper: hard prompts through it, and through the model's own front door.
tokens = vlm.tokenizer(texts).to(device)
ends, last = tokens.argmax(1), tokens.shape[1] - 1
with torch.no_grad():
    prompts = embed(vlm, tokens)
    assert torch.allclose(encode_prompts(vlm.clip, prompts, tokens).cpu(), by_name, atol=1e-5)
    places = {"start": 0 * ends, "3 before": ends - 3, "2 before": ends - 2, "1 before": ends - 1}
    places |= {"end token": ends, "1 after": ends + 1, "last": 0 * ends + last}
    read = {}
    for name, place in places.items():  # a made-up largest id moves the row that your code reads
        head = encode_prompts(vlm.clip, prompts, F.one_hot(place, last + 1)).cpu()
        read[name] = judged(zero_shot_logits(image_features["val"], head, s), "val").accuracy
fig = views.plot_bars({"": [100 * v for v in read.values()]}, list(read), ylabel="validation accuracy, %")
fig.axes[0].set_title("Only the end token's row gives the full accuracy")
show(
    fig,
    "Validation accuracy by the row read: highest at the end token, lower elsewhere, nothing at the start",
)

# %% [markdown]
# **See:** your tower agrees with `encode_text` to five digits. Reading another row costs accuracy without an error
# message: some of it one row further on, where the text has been read but CLIP was never trained to answer, nearly all of
# it at the start, where all classes are the same vector.
#
# ## 8 · One step of training
# **Why.** Nothing about the images changes, so their features are constants from the bank. A step is one pass of the
# text tower with all classes, and its gradient to $V$.
#
# **Formula.** Cached unit features $v$, shape $(B, E)$, labels $y$, shape $(B)$, head $w(V)$, shape $(C, E)$:
#
# $$ L(V) = \mathrm{CE}\big( s \; v \, w(V)^{\top}, \; y \big) \tag{5} $$
#
# **By hand.** One image, two classes, cosines $0.8$ and $0.6$, $s = 10$: logits $8$ and $6$. If the first class is right,
# the loss is $\ln(1 + e^{-2}) = 0.13$; if the second is, $\ln(1 + e^{2}) = 2.13$. With $s = 1$ it would be $0.60$ or $0.80$.


# %% exercise="10-coop-step" look="section 8, formula (5)"
def coop_step(
    learner: nn.Module, optimizer: torch.optim.Optimizer, features: Tensor, labels: Tensor, scale: float
) -> float:
    """One step of CoOp; returns the loss as a number.

    learner() gives the head w(V), (C, E), unit norm. features: (B, E), unit norm; labels: (B,); scale: s.
    """
    # BEGIN SOLUTION
    text_features = learner()
    loss = F.cross_entropy(scale * features @ text_features.T, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    # END SOLUTION


# %% check="10-coop-step"
check("10-coop-step", coop_step)

# %% answer="10-coop-step"
coop_step = answer("10-coop-step", coop_step)


# %%
# Your step in CoOp's recipe: SGD with momentum, a first epoch at a tiny rate, then a cosine to zero.
def learn(shots, scale=s, **options):
    """Train a context on `shots` labelled images per class with your step; the learner and its losses."""
    few = birds.train.few(shots, seed=0)
    features = banks["train"].stored(few.ids)["features"]
    learner = PromptLearner(vlm, birds.classes, **p.coop)
    settings = {"epochs": p.epochs[shots], "step": coop_step} | p.training | options
    return learner, train_prompts(learner, features, few.labels, scale=scale, **settings).losses


before = {name: weight.clone() for name, weight in vlm.clip.state_dict().items()}
trained = {shots: learn(shots) for shots in p.live_shots}
assert all(torch.equal(before[name], w) for name, w in vlm.clip.state_dict().items()), "the towers are frozen"
most = max(p.live_shots)
print(f"learned numbers: {trained[most][0].context.numel():,}, shared by {birds.num_classes} classes")

# %%
fig = views.plot_losses({f"{most} images per class": trained[most][1]}, window=30)
fig.axes[0].set_title(f"{trained[most][0].context.numel():,} numbers learn soon, then hardly any more")
show(fig, "A falling training loss with its moving average")
for shots, (learner, _) in trained.items():
    seen = birds.train.few(shots, seed=0)
    on_seen = prompt_accuracy(learner, banks["train"].stored(seen.ids)["features"], seen.labels)
    on_test = prompt_accuracy(learner, image_features["test"], labels["test"])
    print(f"{shots:>2} per class: {on_seen:.1%} of its training images, {on_test:.1%} of the test images")
name_test = judged(zero_shot_logits(image_features["test"], text_features[best_named], s), "test").accuracy
print(f"best template around the name: {name_test:.1%} of the test images")
assert prompt_accuracy(trained[most][0], image_features["test"], labels["test"]) > name_test - 0.02

# %% [markdown]
# ## 9 · The experiment
# Three ways to use the same frozen features. **Words**: the best template, chosen on validation images, or all templates
# together, where nothing is chosen; no training labels. **CoOp**: a learned context around the names, with the published
# recipe, but 30 epochs in place of 200. **Linear probe**: logistic regression on the image features, which ignores the
# text tower; its penalty was chosen among six on validation images. Every seed draws which images are labelled, CoOp's
# initial context and the order.
#
# And the honest control: a context around the *descriptions*, where four vectors are all that fits.

# %% tags=["nbval-check-output"]
tried = results.select(experiment="templates")
best = max(tried, key=lambda row: row["val"])
best_name = max((row for row in tried if "description" not in row["template"]), key=lambda row: row["val"])
coop = results.values(experiment="main", method="coop", shots=16, position="end")
probe = results.values(experiment="main", method="probe", shots=16)
described = results.values(experiment="described", method="coop", shots=16)


def beyond(values, words):
    return paired(values, [words["test"]] * len(values))


together = next(row for row in tried if row["template"] == "ensemble of names")
rows = [
    ["words: all templates around the name", "none", f"{100 * together['test']:.1f}", ""],
    [f'words: "{best_name["template"]}"', "none", f"{100 * best_name['test']:.1f}", ""],
    ["CoOp around the names", "16", interval(coop), beyond(coop, best_name)],
    [f'words: "{best["template"]}"', "none", f"{100 * best['test']:.1f}", ""],
    ["CoOp around the descriptions", "16", interval(described), beyond(described, best)],
    ["linear probe", "16", interval(probe), ""],
]
columns = ["classifier", "training labels per class", "test accuracy, %", "minus the words above it"]
note = f"Mean ± 95 % interval over {len(coop)} seeds (descriptions: {len(described)}): {results.command}"
print(Table(columns, rows, note=note))
print(f"CoOp around the names minus the best description: {beyond(coop, best)}")
print(f"linear probe minus CoOp around the names: {paired(probe, coop)}")

# %%
curves = {
    "linear probe": [results.interval(experiment="main", method="probe", shots=k) for k in p.shots],
    "CoOp, names": [
        results.interval(experiment="main", method="coop", shots=k, position="end") for k in p.shots
    ],
}
lines = {"words: description": best["test"], "words: name": best_name["test"]}
fig = figures.plot_shots(p.shots, curves, lines)
fig.axes[0].set_title("With few labels words win, with many the probe")
show(fig, "Test accuracy over labelled images per class for CoOp and a linear probe, with two constant lines")

# %% [markdown]
# **See:** around the same names, the learned context beats the best words, and the interval excludes zero. Then look
# at what the names cost: a full description, which needs no label at all, reaches what sixteen labels per class buy
# around the names. Around the description itself, a learned context even *loses*, by more than its interval. It
# starts from random vectors, which cost accuracy, and this recipe wins back loss rather than accuracy. Starting from the
# vectors of a word would be the fairer start (CoOp's `ctx_init`).
#
# How far is that CoOp's fault? Its recipe is not tuned here and has 30 of 200 epochs, and section 8 printed that it is
# hardly better on its own training images than on the test images: it is short of training or of freedom, not of labels,
# and more epochs or another rate may well help. The probe's penalty *was* tuned. Read the crossing points in the
# figure too: up to which budget does CoOp, which starts from the names, stay ahead of a probe that starts from
# nothing? Where does the probe, free to draw any boundary, leave this prompt behind? (The points before the last have
# three seeds, so don't read too much into one of them.)
#
# ### Classes that nobody labelled
# Words need no labels, so they work for a class that comes up tomorrow. Does a *learned* context? Half of the
# species were used to learn it, and the other half alone is tested, with their names in its place.

# %% tags=["nbval-check-output"]
half = {m: results.values(experiment="unseen", method=m) for m in ("zero-shot", "coop")}
rows = [
    ["best template around the name", interval(half["zero-shot"]), ""],
    ["context learned on the other half", interval(half["coop"]), paired(half["coop"], half["zero-shot"])],
]
columns = ["on the unlabelled half", "test accuracy, %", "minus the row above, paired"]
print(Table(columns, rows, note=f"{len(half['coop'])} seeds, which also draw the halves: {results.command}"))

# %% [markdown]
# **See:** set this difference beside the gain in the table before (which is over all sixty species): here the learned
# context is the worse choice. It has learned those classes, not how to speak about birds.
#
# ## 10 · Where the name stands
# The paper tries the end and the middle, its code offers the front too. Same budget, same recipe, three layouts.

# %% tags=["nbval-check-output"]
runs = {
    position: results.values(experiment="main", method="coop", shots=16, position=position)
    for position in p.positions
}
rows = []
for position, values in runs.items():
    gap = paired(values, runs["end"][: len(values)]) if position != "end" else ""
    rows.append([position, len(values), interval(values), gap])
print(Table(["the class name", "seeds", "test accuracy, %", "minus end, paired"], rows, note=results.command))

# %% [markdown]
# **See:** where an interval contains zero, these runs do not tell the layouts apart. A causal text tower could care:
# at the front, the name is read before any learned vector.
#
# ## 11 · What has it learned to say?
# Tempting: look up the nearest word of each learned vector. Do it, with two controls that such tables rarely show: the
# same for the *random* vectors that training started from, and the vector's own length, which is its distance from zero.
# The candidates are the words of the names and descriptions. (A vocabulary has thousands of tokens that no caption of
# the miniature ever contained; their vectors still are the small random ones that they started with.)

# %%
learner = trained[most][0]
start = PromptLearner(vlm, birds.classes, **p.coop).context
known = sorted(set(re.findall(r"[a-z]+", " ".join([*birds.classes, *(birds.descriptions or [])]).lower())))
found, control = (nearest_words(vlm, vectors, k=1, words=known) for vectors in (learner.context, start))
rows = []
for m, vector in enumerate(learner.context[:8]):
    near = [f"{word} ({distance:.2f})" for ((word, distance),) in (found[m], control[m])]
    rows.append([f"V{m + 1}", *near, f"{vector.norm():.2f}", f"{(vector - start[m]).norm():.2f}"])
columns = ["vector", "nearest word, trained (distance)", "untrained (distance)", "length", "moved by"]
display(Table(columns, rows, note=f"{len(rows)} of {learner.n_ctx} vectors; {len(known)} words."))

# %% [markdown]
# **See:** compare the distances with the vector's own length: the nearest of all words is about as far away as the zero
# vector, and it is no nearer than it was to the untrained ones. So a learned vector has no word near it, and the word in
# the table is not its meaning. In the paper's table a few nearest words look related to the task, and strung together
# they make no sense either.
#
# ## 12 · Break it: the scale in the loss
# Train with the wrong scale, on both sides, and test as usual. Before you run it: at $s = 1$, how far can the loss
# (5) fall for sixty classes if all cosines lie between $-1$ and $1$?

# %%
for factor in (1 / s, 1.0, 1 / temperature, 10.0):  # the third calibrates best, section 5
    learner, losses = learn(p.break_shots, scale=factor * s)
    result = prompt_accuracy(learner, image_features["test"], labels["test"])
    print(f"s = {factor * s:6.1f}: loss {losses[0]:.2f} -> {losses[-1]:.2f}, test accuracy {result:.1%}")

# %% [markdown]
# **See:** with cosines in $[-1, 1]$ and $s = 1$ the right one of sixty classes gets at most $e^2 / (e^2 + 59) \approx
# 0.11$, so the loss can't fall below $-\ln 0.11 \approx 2.2$, and there is almost no gradient. A large scale takes a few
# wrong images for everything that matters. Even the scale that calibrates best is no better to train with, at this
# learning rate: the scale also multiplies the gradient. The one that the towers were trained with is a good place to stay.
#
# ## 13 · Find the bug
# A public code base compares CoOp with a prompt ensemble like the one below: some general templates and one for the
# data set at hand. On the first data set its numbers are right. Evaluate a second one in the same process, or the
# same one twice, and they change. Find the line and mend it.


# %% exercise="10-bug" look="what belongs to the class and what to the object"
class Ensemble:
    """The general templates and `extra`, the template of one data set."""

    templates = ["a photo of a {}.", "art of the {}.", "a bad photo of the {}."]  # noqa: RUF012

    def __init__(self, extra: str):
        # BEGIN SOLUTION
        self.templates = [*self.templates, extra]
        # END SOLUTION
        # BEGIN PROMPT
        # self.templates += [extra]
        # END PROMPT

    def prompts(self, classes) -> list[list[str]]:
        """One list of texts per template."""
        return [[template.format(name) for name in classes] for template in self.templates]


# %% check="10-bug"
check("10-bug", Ensemble)

# %%
# What the defect costs: the same birds, evaluated first, and by the class as it was after three other data sets.
general, own = list(Ensemble.templates), "a photo of a {}, a type of bird."
others = ["a photo of a {}, a type of aircraft.", "{} texture.", "a photo of {}, a type of food."]
for found in ([*general, own], [*general, *others, own]):
    head = vlm.zero_shot([[template.format(name) for name in birds.classes] for template in found]).cpu()
    reached = judged(zero_shot_logits(image_features["test"], head, s), "test").accuracy
    print(f"{len(found)} templates: {reached:.1%} of the test images")

print(f"Back to your guess: {my_guess:.1f} points; over {len(coop)} seeds it is {beyond(coop, best_name)}")

# %% [markdown] question="10-q-scale" points=2
# **Question 1.** The temperature changes no prediction. Name two uses of a zero-shot classifier in which it
# nevertheless decides the outcome, and say for one of them what goes wrong if the scale is simply left out ($s = 1$).

# %% [markdown] rubric="10-q-scale"
# **Model answer.** Whatever reads the probabilities: a threshold below which a person is asked; a decision with
# unequal costs; averaging with another model; distillation, where the teacher's probabilities are the target. At
# $s = 1$ all cosines lie within $[-1, 1]$, so with 60 classes no probability can exceed about
# $e^2 / (e^2 + 59) \approx 0.11$: every image falls below the threshold, or the student is taught an almost uniform
# distribution (and a further temperature $T$ in the loss flattens it again).
#
# **Rubric.** 1 point: two uses that depend on probabilities. 1 point: says that they become nearly uniform, with the
# consequence for that use.

# %% [markdown] question="10-q-when-not" points=4
# **Question 2.** Use section 9. For each of these say which of *words*, *CoOp* and *linear probe* you would take and
# which you would *not*, and name the number that decides: (a) 200 species, no labels, new species every month; (b) 60
# species, two labels each; (c) 60 species, sixteen labels each, and the list of species will never change. (d) When
# should you trust *none* of them that uses the text tower, however its prompts are made? Name one situation and how
# you would notice it before use.

# %% [markdown] rubric="10-q-when-not"
# **Model answer.** (a) Words, as descriptive as one can get them: no labels are needed; CoOp not: the table of the
# unlabelled half shows what becomes of a learned context there. (b) Compare the curves at two labels with the lines:
# the probe has hardly anything to fit and lies far below the words; a good description is the choice, and CoOp only
# where its interval lies above the line. (c) At sixteen labels compare CoOp and the probe by the paired difference in
# the table; the one that wins there, since nothing new will ever have to be named. (d) For instance: the classes were
# hardly ever named in captions (serial numbers, in-house jargon, medical findings), or the images come from a sensor
# the towers never saw: label a small random sample and measure; the classes differ in what captions don't mention
# (counting, left and right): look at the confusion *within* look-alike groups; an input may belong to none of the
# classes: test with images from outside.
#
# **Rubric.** 1 point each for a choice that agrees with quoted numbers and their intervals; (d) needs a concrete
# measurement.

# %% [markdown]
# ## 14 · What you should have seen
# - The text is a weight matrix: what it says decides the accuracy, how it is framed much less (here).
# - Ensembling averages directions: normalise, average, normalise. It makes the choice of a template unimportant.
# - The logit scale changes no prediction and every probability; one temperature, fitted on validation images, mends
#   it.
# - CoOp needs three things right: the layout, the end token's row, and a gradient through a frozen tower.
# - With sixteen labels per class CoOp beats the best template around the same names (section 9, with an interval). It
#   does not clearly beat a good description, which needs no labels, and a linear probe beats both.
#
# ## What the papers report
# | source | statement |
# |---|---|
# | CLIP (Radford et al. 2021), section 3.1.4 | prompt engineering and ensembling of 80 templates improve ImageNet accuracy by almost 5 points together |
# | CoOp (Zhou et al. 2021), abstract | one or two shots suffice to beat hand-written prompts; at 16 shots the average gain over 11 data sets is about 15 points, the largest above 45 |
# | CoCoOp (Zhou et al. 2022), averages over 11 data sets | classes seen in training: CLIP 69.34, CoOp 82.69; unseen classes: CLIP 74.22, CoOp 63.22 |
#
# Caveats: large towers, real photographs, training with augmented images, 200 epochs and several seeds; the largest
# gains come from data sets whose templates were poor to begin with (satellite images, textures). Your miniature
# learned from clean captions, so a template has less to mend.
#
# ## Read on
# - Radford et al., *Learning transferable visual models from natural language supervision*, arXiv 2103.00020: the
#   source; section 3.1.4 on prompts.
# - Zhou et al., *Learning to prompt for vision-language models*, arXiv 2109.01134: CoOp.
# - Zhou et al., *Conditional prompt learning for vision-language models*, arXiv 2203.05557: why a context fails on
#   unseen classes, and a remedy.
# - Menon, Vondrick, *Visual classification via description from large language models*, arXiv 2210.07183: your
#   descriptions, written by a language model.
# - Guo et al., *On calibration of modern neural networks*, arXiv 1706.04599: temperature scaling.
