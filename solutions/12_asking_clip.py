# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 12 · Asking CLIP directly
#
# Sixty species, six labelled photographs of each, and a small network that starts from nothing. Beside it lies a CLIP
# that has read captions of birds and was never given a label. First, how well each of them knows the species.

# %% tags=["setup"]
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import labkit
from labkit import answer, check, engine, views
from labkit.bench import interval, lab12, pair, paired, read_results, vlm
from labkit.bench import lab12_tables as tables
from labkit.bench.matrix_rows import KINDS
from labkit.data import Batch, batches
from labkit.engine import grad_cam
from labkit.losses import hinton_kd
from labkit.views import Table, asking, maps, prompts, show

profile = labkit.profile()
p = lab12.settings(profile)
torch.set_num_threads(p.threads)
device = "cuda" if torch.cuda.is_available() else "cpu"
results, comparison = read_results("lab12"), read_results(lab12.COMPARISON)

# %% tags=["nbval-check-output"]
main = {"experiment": "main", "per_class": p.reported}
base = comparison.values(**main, method="scratch")
gap = [
    ["CLIP, by the species' names", "0", comparison.interval(**main, method="zero-shot")],
    ["student alone", str(p.reported), interval(base)],
]
note = f"Mean ± 95 % interval over {len(base)} seeds: {comparison.command}"
print(Table(["", "labels per species", "test accuracy, %"], gap, note=note))

# %% [markdown]
# Two sources that know different things: one has seen six birds of each species, the other has read what birds are called.
# CLIP is too large for the place where the student has to work. But while you train it is *there*, and it has an opinion
# on every image. So ask it, and let the student learn from the answers. This lab tries the three usual ways of asking; lab
# 13 will put somebody in between.
#
# **You will be able to**
# - *turn* zero-shot logits into soft targets, and say what the logit scale does to them;
# - *build* VL2Lite's condensation layer and its two losses, and say which side of each may move;
# - *measure* whether a target collapses, which a falling loss does not tell;
# - *judge* three ways of asking CLIP against controls that never ask;
# - *measure* where a student looks, beside what chance and habit would give;
# - *find* a defect that public code really had: a frozen teacher that wakes up.
#
# **You need** labs 01 (KD) and 10 (CLIP). **It takes** 75 to 90 minutes; the computing takes two to three minutes on a
# laptop's CPU, about 20 on a GPU with the `gpu` profile (CUB-200, a ViT-B-16 and a ResNet-18; its tables remain those of
# the miniature). The runs over many seeds were computed for you; each table names its command.
#
# **Predict.** Three ways of asking: CLIP's *answers* (KD), how *near the images are to each other* in CLIP's space (RKD), or its
# images *and* texts (VL2Lite). Which helps this student most, and is any of them worth as much as starting the same student
# from weights that were pretrained on other birds? Write down your guess; we come back to it.

# %%
my_guess = "RKD(CLIP)"  # "KD(CLIP)", "RKD(CLIP)", "VL2Lite" or "pretrained weights"
birds = pair.few(p, p.per_class, seed=0)
clip = vlm.load(p)
texts = clip.zero_shot(vlm.texts(p, birds))  # (C, E), one unit vector per class
bank = vlm.bank(p, 0, p.per_class, views=p.live_views)  # CLIP's embeddings of augmented training images
alone = lab12.student(profile, "scratch", seed=0).model
tests = {"CLIP": vlm.zero_shot_on(p, birds, birds.test), "alone": engine.evaluate(alone, birds.test)}
for (name, test), net in zip(tests.items(), (clip.clip.visual, alone), strict=True):
    print(f"{name:>5}: {test}; {sum(w.numel() for w in net.parameters()):,} weights")
right = [test.predictions == test.labels for test in tests.values()]
both, either = right[0] & right[1], right[0] | right[1]
print(
    f"both are right on {both.double().mean():.1%} of the images, at least one on {either.double().mean():.1%}"
)

# %%
# Birds that CLIP names rightly and the student alone does not, and what the student takes for their species' marks.
pick = lab12.telling(tests["CLIP"], tests["alone"], n=4)
images, truth = birds.test.fetch(pick).to(device) / 255, birds.test.labels[pick].to(device)
short = ["\n".join(name.rsplit(" ", 1)).replace(" ", "\n", 1) for name in birds.classes]
look = {"alone": grad_cam(alone.to(device), images, truth).cpu()}
said = {"alone": [short[c] for c in tests["alone"].predictions[pick]]}
fig = maps.plot_attention(images.cpu(), [short[c] for c in truth], look, said, size=1.25)
fig.suptitle("CLIP names these four birds rightly; the student alone does not", fontsize=11)
show(fig, "Four birds with their names, and over each in grey the student's Grad-CAM for the true species")

# %% [markdown]
# **See:** they do not fail on the same birds. A student that learned what CLIP knows and kept what it has from its labels
# could come near the last printed share. In the pictures, yellow is what speaks for the *true* species in the student's
# last map (Grad-CAM, section 8); underneath stands what it said instead, mostly a look-alike that differs in a small part.
#
# ## 1 · KD(CLIP): its answers as soft labels
# **Why.** The cheapest way of asking. Lab 10's zero-shot head gives logits for every image, so let them take the place of
# lab 01's teacher. Nothing is trained on CLIP's side, and no connector is needed.
#
# **Formula.** CLIP's embeddings of images $x$ $(B, E)$ and class texts $u$ $(C, E)$, directions $v_b = x_b / \lVert x_b
# \rVert$, $t_c = u_c / \lVert u_c \rVert$; the student's logits $z$ $(B, C)$; labels $y$ $(B)$:
#
# $$ z^{\mathrm{CLIP}}_{bc} = s \; v_b^{\top} t_c, \qquad
#    L = w \, \mathrm{CE}(z, y) + (1 - w) \; T^2 \, \mathrm{KL}\big( \mathrm{softmax}(z^{\mathrm{CLIP}} / T)
#    \,\Vert\, \mathrm{softmax}(z / T) \big) \tag{1} $$
#
# Papers print "KD(CLIP)" in their tables without saying $s$ and $T$. That matters: what the student sees is
# $\mathrm{softmax}(s \cos / T)$, so only $s / T$ counts for the target.
#
# **By hand.** Two classes, cosines $(0.8, 0.6)$, $s = 10$, $T = 2$: $z^{\mathrm{CLIP}} / T = (4, 3)$, target $(0.73, 0.27)$. A
# student with logits $(0, 0)$ says $(0.5, 0.5)$: $T^2 \, \mathrm{KL} = 4 \cdot 0.111 = 0.44$. With $s = 1$ the target is
# $(0.52, 0.48)$ and the loss $0.005$: CLIP seems to have nothing to say.


# %% exercise="12-kd-clip" look="section 1, formula (1)"
def kd_clip(
    student_logits: Tensor, image_features: Tensor, text_features: Tensor, labels: Tensor, scale: float,
    temperature: float, hard_weight: float,
) -> Tensor:  # fmt: skip
    """Formula (1), a scalar.

    student_logits: (B, C); image_features: (B, E) and text_features: (C, E), neither normalised; labels: (B,);
    scale: s; hard_weight: w. hinton_kd(student_logits, teacher_logits, temperature) contains T^2.
    """
    # BEGIN SOLUTION
    v = F.normalize(image_features, dim=-1)
    t = F.normalize(text_features, dim=-1)
    soft = hinton_kd(student_logits, scale * v @ t.T, temperature)
    return hard_weight * F.cross_entropy(student_logits, labels) + (1 - hard_weight) * soft
    # END SOLUTION


# %% check="12-kd-clip"
check("12-kd-clip", kd_clip)

# %% answer="12-kd-clip"
kd_clip = answer("12-kd-clip", kd_clip)

# %%
# What a student is shown: one image's five nearest classes under several (s, T), then the mean over all images.
v = vlm.bank(p, 0, p.per_class, views=0).features().to(device)  # of the training images as they are
y = birds.train.labels.to(device)
one = int((v @ texts.T).argmax(1).eq(y).nonzero()[0])
near = (v[one] @ texts.T).topk(5).indices.tolist()
targets = {f"s = {s:g}\nT = {T:g}": (s / T * v @ texts.T).softmax(1) for s, T in p.shown}
panels = {name: target[one, near].tolist() for name, target in targets.items()}
picture = birds.train.fetch([one])[0] / 255
fig = prompts.plot_guess(picture, short[y[one]], [birds.classes[c] for c in near], panels)
fig.suptitle("One ranking; the ratio s / T decides how loudly it is said", fontsize=11)
show(fig, "One bird and CLIP's probabilities of five species: flat, flat, leaning, peaked")
rows = []
for name, target in targets.items():
    classes = torch.special.entr(target).sum(1).exp().mean()  # e^entropy: how many classes it wavers between
    rows.append([name.replace("\n", ", "), f"{target.amax(1).mean():.2f}", f"{classes:.0f} of {len(texts)}"])
print(
    Table(["", "largest probability", "as if undecided between"], rows, note=f"Own s: {clip.logit_scale:.2f}")
)

# %% [markdown]
# **See:** all panels rank the species alike. But with CLIP's starting scale $s = 1 / 0.07 = 14.29$, which much code
# keeps, and the usual $T = 4$, the target is nearly uniform: CLIP speaks very softly. (This
# miniature has hardly moved its scale in training; large CLIPs learn about 100.) At the other end the target becomes a
# hard label, and CLIP's mistakes become truths. Section 9 lets a student listen at several volumes.
#
# ## 2 · RKD(CLIP): how far apart the images are
# Here only what this method asks (lab 05, not in this release, is about it): not *where* CLIP puts an image but how far apart
# it puts two of them. With $\psi_{ij}$ the distance of embeddings $i$ and $j$, divided by the mean distance in the batch, and
# $\ell$ the Huber loss,
#
# $$ L_{\mathrm{RKD}} = \mathrm{CE}(z, y) + \lambda_D \frac{1}{B^2} \sum_{i,j} \ell\big( \psi^{\mathrm{student}}_{ij} -
#    \psi^{\mathrm{CLIP}}_{ij} \big) + \text{angles in triplets} $$
#
# The widths $D$ and $E$ need not agree and nothing new is trained. The texts, though, are never read: everything CLIP
# knows by *name* stays unsaid.
#
# ## 3 · A layer between two widths
# **Why.** VL2Lite asks for more: the student's embedding shall *be* CLIP's, seen through a small network, the
# *condensation layer*. It takes CLIP's $E$ numbers (1 024 in the paper) down to the student's $D$, once for images, once
# for texts, and is thrown away after training. Unlike lab 04's connector it sits on the **teacher's** side. Remember
# that: section 4 will ask what it may do there.
#
# **Formula.** For rows $x$ of width $E$, weights $W_1$ $(D, E)$ and $W_2$ $(D, D)$, biases $b_1, b_2$ $(D)$:
#
# $$ a(x) = \frac{o}{\lVert o \rVert}, \qquad o = W_2 \, \mathrm{ReLU}(W_1 x + b_1) + b_2 \tag{2} $$
#
# **By hand.** $W_1 x + b_1 = (2, -1)$, after the ReLU $(2, 0)$. With $W_2 = \begin{pmatrix} 1.5 & 1 \\ 2 & -1
# \end{pmatrix}$ and $b_2 = 0$: $o = (3, 4)$, of length 5, so $a = (0.6, 0.8)$.


# %% exercise="12-condense" look="section 3, formula (2)"
class Condensation(nn.Module):
    """From CLIP's width to the student's, formula (2)."""

    def __init__(self, wide: int, narrow: int):
        """wide: E; narrow: D."""
        super().__init__()
        # BEGIN SOLUTION
        self.layers = nn.Sequential(nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, narrow))
        # END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, E). Returns (N, D), each row of length 1."""
        # BEGIN SOLUTION
        return F.normalize(self.layers(x), dim=-1)
        # END SOLUTION


# %% check="12-condense"
check("12-condense", Condensation)

# %% answer="12-condense"
Condensation = answer("12-condense", Condensation)

# %% [markdown]
# The **visual loss** compares directions, coordinate by coordinate. With the student's embeddings $h$ $(B, D)$ and $a =
# a_{\mathrm{img}}(v)$ $(B, D)$:
#
# $$ L_{\mathrm{img}} = \frac{1}{B\,D} \sum_{b=1}^{B} \sum_{d=1}^{D} \Big| \frac{h_{bd}}{\lVert h_b \rVert} - a_{bd}
#    \Big| \tag{3} $$
#
# As published, the gradient goes to *both* sides: to the student, and to the condensation layer.
#
# **By hand.** $B = D = 2$. $h = (3, 4)$ and $(0, 2)$ point along $(0.6, 0.8)$ and $(0, 1)$; $a = (1, 0)$ and $(0, 1)$. Absolute
# differences $0.4, 0.8$ and $0, 0$: $L_{\mathrm{img}} = 1.2 / 4 = 0.3$.


# %% exercise="12-visual-loss" look="section 3, formula (3)"
def visual_loss(student_emb: Tensor, condensed: Tensor) -> Tensor:
    """Formula (3), a scalar.

    student_emb: (B, D), not normalised; condensed: (B, D), of length 1. Both receive gradient.
    """
    # BEGIN SOLUTION
    return (F.normalize(student_emb, dim=-1) - condensed).abs().mean()
    # END SOLUTION


# %% check="12-visual-loss"
check("12-visual-loss", visual_loss)

# %% answer="12-visual-loss"
visual_loss = answer("12-visual-loss", visual_loss)

# %% [markdown]
# ## 4 · A target that comes to meet you
# **Why.** If the target is learned too, the loss has two ways to fall: the student moves to the target, or the target to
# the student. In the extreme student and layer map every image to one and the same vector, and the loss is zero without
# anybody knowing anything: a *collapse*. The loss can't show it. So measure the target.
#
# **Formula.** The *spread* of rows $a$ $(N, D)$ is the variance of their directions: with unit rows $\hat a_n$,
#
# $$ S(a) = \frac1N \sum_{n} \Big\lVert \hat a_n - \frac1N \sum_m \hat a_m \Big\rVert^2 = 1 - \Big\lVert \frac1N
#    \sum_{n} \hat a_n \Big\rVert^2 \in [0, 1] \tag{4} $$
#
# It is 0 if all rows point the same way, and 1 if they cancel.
#
# **By hand.** Rows $(1, 0)$ and $(0, 3)$: directions $(1, 0)$ and $(0, 1)$, mean $(0.5, 0.5)$, squared length $0.5$, so
# $S = 0.5$.


# %% exercise="12-spread" look="section 4, formula (4)"
def spread(x: Tensor) -> Tensor:
    """Variance of the directions of rows (N, D), formula (4), a scalar; the rows are not normalised."""
    # BEGIN SOLUTION
    return 1 - F.normalize(x, dim=-1).mean(0).square().sum()
    # END SOLUTION


# %% check="12-spread"
check("12-spread", spread)

# %% answer="12-spread"
spread = answer("12-spread", spread)

# %%
# The worst case, on purpose: the student is *frozen* and untrained, and only the condensation layer learns.
torch.manual_seed(0)
rookie = pair.create(p, "scratch", 0, p.per_class).deployed().to(device).eval()
with torch.no_grad():
    h = torch.cat([rookie(b.image).embedding for b in batches(birds.train, 256, device=device)])
layer = Condensation(clip.embed_dim, rookie.embedding_dim).to(device)
optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
print(f"spread of CLIP's images {spread(v):.3f}, of the untrained student's {spread(h):.3f}")
for step in range(201):
    loss = visual_loss(h, layer(v))
    if step % 100 == 0:
        print(f"step {step:3}: visual loss {loss:.4f}, spread of the target {spread(layer(v)):.3f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
runs, raw = tables.spreads(results), {"CLIP's images": spread(v).item()}
fig = asking.plot_epochs(
    runs,
    raw,
    ylabel="spread of the condensed images",
    title="Trained, the target opens up; held still, it stays almost a point",
)
show(fig, "Spread of the condensed images over the epochs of VL2Lite, with a moving and with a fixed target")

# %% [markdown]
# **See:** first the numbers above. Nobody taught the student anything, and the loss fell to a small fraction: the *target*
# came all the way, and has now the spread of the untrained student, whom it imitates. Look where it started, too: a new
# condensation layer sends CLIP's widely spread images almost to one point, since its biases speak louder than its inputs.
# Then the figure: three real runs of VL2Lite each, where the student learns as well. "Held still" is the layer as it was
# initialised, for a stop-gradient on the target of (3) leaves it without any loss of its own: no collapse, but a target that
# never says much. (See how the moving one shrinks at first, to meet the student.) What both do to the accuracy stands in
# section 7. Whatever learns on its teacher's side, log its spread.
#
# ## 5 · The texts
# **Why.** The second half uses what only a vision-language model has. The condensed texts $a_{\mathrm{txt}}(t_c)$ stand in the
# *student's* space, one per class, and the student's embedding shall be as near to each as CLIP's image is to CLIP's text.
#
# **Formula.** With cosines of $h$ $(B, D)$ to the condensed texts $(C, D)$, and of $v$ $(B, E)$ to the texts $t$ $(C, E)$:
#
# $$ P_T = \mathrm{softmax}\big( s \cos(v, t) / T \big), \quad
#    P_S = \mathrm{softmax}\big( s \cos(h, a_{\mathrm{txt}}(t)) / T \big), \quad
#    L_{\mathrm{txt}} = \frac{T^2}{2} \, \frac1B \sum_b \mathrm{KL}\big( P_{T,b} \,\Vert\, P_{S,b} \big) \tag{5} $$
#
# $s = 14.29$ and $T = 2$ in the authors' code. The target is made in CLIP's **raw** space: no trained layer touches
# it. That keeps this loss honest, where (3) can be bought.
#
# **By hand.** Section 1's target $(0.73, 0.27)$ at $s = 10$, $T = 2$. The student's cosines are $(0.6, 0.6)$, so $P_S = (0.5,
# 0.5)$ and $\mathrm{KL} = 0.111$: $L_{\mathrm{txt}} = \frac42 \cdot 0.111 = 0.22$.


# %% exercise="12-linguistic-loss" look="section 5, formula (5)"
def linguistic_loss(
    student_emb: Tensor, condensed_text: Tensor, image_features: Tensor, text_features: Tensor,
    scale: float, temperature: float,
) -> Tensor:  # fmt: skip
    """Formula (5), a scalar.

    student_emb: (B, D); condensed_text: (C, D), receives gradient; image_features: (B, E) and text_features:
    (C, E), CLIP's own. None is normalised. hinton_kd(student_logits, teacher_logits, temperature) helps.
    """
    # BEGIN SOLUTION
    ours = scale * F.normalize(student_emb, dim=-1) @ F.normalize(condensed_text, dim=-1).T
    theirs = scale * F.normalize(image_features, dim=-1) @ F.normalize(text_features, dim=-1).T
    return hinton_kd(ours, theirs, temperature) / 2
    # END SOLUTION


# %% check="12-linguistic-loss"
check("12-linguistic-loss", linguistic_loss)

# %% answer="12-linguistic-loss"
linguistic_loss = answer("12-linguistic-loss", linguistic_loss)

# %%
# Which term pulls hardest? Each loss at the start, and the length of its gradient over the student's weights.
CLIP_SCALE = 1 / 0.07
b = next(lab12.replay(bank, p.training["batch_size"], 1, device))
features = b.stored["features"]
two = [Condensation(clip.embed_dim, rookie.embedding_dim).to(device) for _ in ("image", "text")]
terms = {
    "labels": lambda out: F.cross_entropy(out.logits, b.label),
    "visual": lambda out: visual_loss(out.embedding, two[0](features)),
    "linguistic": lambda out: linguistic_loss(out.embedding, two[1](texts), features, texts, CLIP_SCALE, 2.0),
}
for name, term in terms.items():
    rookie.train().zero_grad()
    loss = term(rookie(b.image))
    loss.backward()
    pull = torch.cat([w.grad.flatten() for w in rookie.parameters() if w.grad is not None]).norm()
    print(f"{name:>10}: loss {loss:6.3f}, pull {pull:6.3f}")

# %% [markdown]
# **See:** an absolute difference between coordinates of unit vectors is of the order of $1 / \sqrt D$, and so is its pull:
# beside the texts the visual half whispers. Neither half reaches the student's *head*: only the labels do.
#
# ## 6 · One step, and who gets how much weight
# **Formula.** With the progress $e \in [0, 1)$ of training:
#
# $$ L = \lambda \, \mathrm{CE}(z, y) + (1 - \lambda) \, \tfrac12 \big( L_{\mathrm{img}} + L_{\mathrm{txt}} \big), \qquad
#    \lambda = \min(1, \; \mathrm{slope} \cdot e) \tag{6} $$
#
# The authors' code has $\mathrm{slope} = \frac18$: the labels start with no weight at all and end with one eighth.
# Another public implementation reads "one eighth" as *reach 1 after an eighth of training*, $\mathrm{slope} = 8$. These are
# not two notations of one thing: in the second, CLIP is heard for an eighth of the time and never again.
#
# **By hand.** $e = 0.4$, cross-entropy 2, $L_{\mathrm{img}} = 0.08$, $L_{\mathrm{txt}} = 1.2$. Slope $\frac18$: $\lambda =
# 0.05$, $L = 0.1 + 0.95 \cdot 0.64 = 0.708$. Slope 8: $\lambda = 1$, $L = 2$.


# %% exercise="12-step" look="section 6, formula (6)"
def vl2lite_step(
    student: nn.Module, image_layer: nn.Module, text_layer: nn.Module, optimizer: torch.optim.Optimizer,
    batch: Batch, texts: Tensor, progress: float, slope: float, scale: float, temperature: float,
) -> float:  # fmt: skip
    """One step of VL2Lite, formula (6); returns the loss as a number.

    student(batch.image) has .logits and .embedding; batch.stored["features"]: v, (B, E); texts: t, (C, E);
    progress: e. visual_loss and linguistic_loss are yours.
    """
    # BEGIN SOLUTION
    weight = min(1.0, slope * progress)
    out, v = student(batch.image), batch.stored["features"]
    visual = visual_loss(out.embedding, image_layer(v))
    linguistic = linguistic_loss(out.embedding, text_layer(texts), v, texts, scale, temperature)
    loss = weight * F.cross_entropy(out.logits, batch.label) + (1 - weight) * (visual + linguistic) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    # END SOLUTION


# %% check="12-step"
check("12-step", vl2lite_step)

# %% answer="12-step"
vl2lite_step = answer("12-step", vl2lite_step)

# %%
# Your method, from your first line to your last. One seed, the published lambda, s and T.
student = pair.create(p, "scratch", 0, p.per_class).deployed().to(device).train()
two = [Condensation(clip.embed_dim, student.embedding_dim).to(device) for _ in ("image", "text")]
optimizer = torch.optim.AdamW([w for part in (student, *two) for w in part.parameters()], p.live["lr"])
steps, how = p.training["steps"], (p.live["slope"], CLIP_SCALE, p.live["temperature"])
rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, p.live["lr"], steps, pct_start=0.1)
spreads = []
for step, b in enumerate(lab12.replay(bank, p.training["batch_size"], steps, device)):
    vl2lite_step(student, *two, optimizer, b, texts, step / steps, *how)
    rate.step()
    spreads.append(spread(two[0](b.stored["features"]).detach()).item())
student = student.eval()

# %%
tests["VL2Lite"] = engine.evaluate(student, birds.test)
with torch.no_grad():  # a second classifier, that nobody trained as one: the nearest condensed text
    h = torch.cat([student(b.image).embedding for b in batches(birds.test, 256, device=device)])
    nearest = (F.normalize(h, dim=-1) @ two[1](texts).T).argmax(1).cpu()
for name, test in tests.items():
    print(f"{name:>7}: {test}")
print(f"VL2Lite by its nearest condensed text: {(nearest == birds.test.labels).double().mean():.1%}")
print(
    "spread of your condensed images:", " -> ".join(f"{spreads[i]:.2f}" for i in (0, steps // 2, steps - 1))
)
assert tests["VL2Lite"].accuracy > 5 / birds.num_classes, "it should have learned something"

# %% [markdown]
# **See:** two classifiers came out of one training. The head heard nothing but labels, at a weight that never passed an eighth.
# (Under Adam that is less of a handicap than it looks: a small gradient is divided by its own size, and only the head's
# depends on the labels alone. With plain SGD it would be one.) The other was never meant to be used: the text that is nearest.
#
# ## 7 · The experiment
# The same labels, student, steps, batches and augmentation for all; six settings tried for each method on validation
# images with two seeds that are not reported, at six labels; rates once again at 20, which 10 takes over, but for the student
# alone, whose settings were tried there, too. Beside the three ways of asking:
# CLIP's own accuracy, without which no such table can be read; the student **alone**; and the student alone from **pretrained**
# weights, the control for "it is just more knowledge from somewhere".

# %% tags=["nbval-check-output"]
print(tables.by_budget(comparison, profile))

drawn = {KINDS[m].words: comparison.values(**main, method=m) for m in p.compared}
fig = views.plot_seeds(drawn, {"CLIP, zero-shot": comparison.interval(**main, method="zero-shot").mean})
fig.axes[0].set_title(f"{p.reported} labels per species: a point is a seed, a bar the mean", pad=18)
show(fig, "Test accuracy by seed of the student alone, pretrained, KD, RKD and VL2Lite, and CLIP's line")
for first, second in (("vl2lite", "kd_clip"), ("vl2lite", "rkd_clip"), ("finetuned", "vl2lite")):
    difference = comparison.gain(main | {"method": first}, main | {"method": second})
    print(f"{KINDS[first].words} minus {KINDS[second].words}: {difference}")

# %% tags=["nbval-check-output"]
print(tables.gains(results, tables.HALVES, ["student alone", "VL2Lite"], f"{p.reported} labels per species"))

# %% [markdown]
# **See:** start with CLIP's own row: a student that asks it and stays below would do better to copy its answers. VL2Lite
# passes it at six labels, by an interval without zero, KD by its mean. Both lift the student **alone** by some twenty points,
# and their seeds scatter less than its own, for by one and the same recipe it lands far apart from seed to seed. RKD(CLIP)
# shows no lift there; a likely reason is that it never reads the texts. Now go to the right. The student alone grows with its
# labels, CLIP's advice stays what it is; with all twenty labels what was worth twenty points is worth nothing that five seeds
# can show. (The student's learning rate was chosen again at each budget: a baseline with the wrong one makes any advice look
# good.) And the control: the same student from **pretrained** weights asks nobody and leaves every way of asking far behind,
# by an interval clear of zero. Where such weights exist, *that* is what distillation has to beat.
#
# In the second table three seeds have to do, and the student alone scatters so widely that VL2Lite's lead over it contains zero
# (the first table's five seeds can tell). *Label smoothing* asks nobody, either, and gets nearly as far: of that lead, softness
# alone is worth the larger part on average, and three seeds can't tell VL2Lite from it.
# The *visual half alone* is the worst row, worse on average than the student who asked nobody, with one seed near chance:
# section 4's target that can be bought, with hardly any weight on the labels to stop it. The *linguistic half alone* does
# most of what the whole does. With the target *held still* the mean is lower, too. Both differences contain zero: three seeds
# can't tell whether the image space that VL2Lite also claims to teach adds anything to the texts.
#
# ## 8 · Where does the student look?
# **Why.** Look-alikes differ in one or two small parts. A student that has understood the species should look *there*. Papers
# show a few heatmaps; the Aviary knows every pixel's part, so that we can count.
#
# **Formula.** Grad-CAM for class $c$: $A$ the last map $(K, h, w)$, $\alpha_k$ the mean over places of $\partial z_c /
# \partial A_k$, map $= \mathrm{ReLU}\big( \sum_k \alpha_k A_k \big)$. The *attention-on-part score* is the share of its mass
# on the parts that tell the true species from its look-alikes, averaged over images. Read it beside what a map would get that
# knows less: **chance** (even over the picture), **centre** (a blob in the middle), **bird** (even over the bird), the
# network's own **mean map** ("fixed" in the lines printed below), the same for every image, and **best**, all in the best
# cell of a map this coarse.

# %%
look["VL2Lite"] = grad_cam(student, images, truth).cpu()
said["VL2Lite"] = [short[c] for c in tests["VL2Lite"].predictions[pick]]
fig = maps.plot_attention(images.cpu(), [short[c] for c in truth], look, said, size=1.25)
fig.suptitle("What speaks for the true species, before and after asking CLIP", fontsize=11)
show(fig, "The same four birds, and over each the Grad-CAM of the student alone and of VL2Lite's")
for name, found in lab12.attention({"alone": alone, "VL2Lite": student}, lab12.some(p)).items():
    print(f"{name:>7}: {found}")

# %% tags=["nbval-check-output"]
scores = tables.scores(results)
print(tables.looks(results))
lines = {name: level for name, level in tables.controls(results).items() if name != "best"}
fig = views.plot_seeds(scores, lines, xlabel="share of Grad-CAM on the telling parts")
fig.axes[0].set_title("No student finds more than an even look at the bird", pad=18)
show(fig, "Attention-on-part scores by seed, each beside its own mean map's, with lines for the controls")
for method in ("kd_clip", "vl2lite"):
    gap = paired(scores[KINDS[method].words], scores[KINDS["scratch"].words])
    print(f"{KINDS[method].words} minus {KINDS['scratch'].words}, points, paired: {gap}")

# %% [markdown]
# **See:** KD(CLIP)'s student looks at the telling parts a little more than the student alone, VL2Lite's does not (printed
# below the figure, paired; your own VL2Lite above, with the published temperature, is one seed of another setting). But read on.
# A blob in the middle of every picture gets as much, but for KD(CLIP)'s, which is a little above. Nearly all of it is in the
# network's own *mean map*: it knows where such parts usually are, hardly where they are on this bird. And a look spread evenly
# over the bird would find more of them. The pictures above suggest a story; counted, it shrinks to this. Two things blunt the
# measure: a cell of so coarse a map covers more than a bill (*best* is what it could reach), and Grad-CAM shows where evidence
# is strong, not where it decides.
#
# ## 9 · Break it: CLIP's voice
# KD(CLIP) with the temperature that validation chose, and CLIP's logit scale over three powers of ten. Before you look: which
# end is worse, the one where CLIP says nothing, or the one where it is always certain?

# %% tags=["nbval-check-output"]
rows = {f"s = {x:g}": {"experiment": "scale", "scale": float(x)} for x in p.scales}
against = {"student alone": tables.HALVES["student alone"]}
print(tables.gains(results, against | rows, [*against, f"s = {p.own:g}"], "KD(CLIP)"))
found = tables.by_scale(results, p.scales)
levels = {"student alone": (results.interval(**against["student alone"]).mean, 0.0)}  # interval: see above
levels["CLIP, zero-shot"] = (comparison.interval(**main, method="zero-shot").mean, 0.0)
fig = views.plot_sweep(
    list(found), *zip(*found.values(), strict=True), xlabel="logit scale s", lines=levels, log=True
)
fig.axes[0].set_title("A teacher who mumbles, and one who is always certain")
show(fig, "Test accuracy of KD(CLIP) over the logit scale, with lines for the student alone and for CLIP")

# %% [markdown]
# **See:** both ends lie below the model's own scale on average, the certain one by an interval without zero, down at the
# student alone: there CLIP's first guess becomes the truth, wrong ones included. At the mumbling end the targets are nearly
# uniform: CLIP says nothing, and what is left is a strong label smoothing. In between, soft is not silent: validation chose
# $T = 4$, so the best point has nearly the ratio $s / T$ that looked flat in section 1's second panel (the loss's $T^2$ turns
# it up again), and $s = 60$, nearly that of the third, is worse by an interval without zero. That the mumbling end's mean
# still lies above the student alone (zero is inside that interval) is a warning: part of any lead over a student who asks
# nobody may be softness.
#
# ## 10 · Find the bug
# VL2Lite's configuration builds CLIP's image tower with *drop path*: in training each residual branch is left out
# for one image in ten. CLIP is not trained, so the code calls `clip.eval()` and freezes it, and all is well. Then a training
# framework takes over: student, CLIP and layer are parts of one `module`, and the loop below is what it does with it. The
# loss is a little noisier than it should be, nothing else. Find the line and mend it.


# %% exercise="12-bug" look="lab 01's bug: which mode is who in, and who put him there?"
def distil(module, batches, epochs, lr, validate):
    """Train module.student and module.layer on what the frozen module.clip says; a score for each epoch."""
    module.clip.eval().requires_grad_(False)
    optimizer = torch.optim.SGD([w for w in module.parameters() if w.requires_grad], lr=lr)
    scores = []
    for _ in range(epochs):
        # BEGIN SOLUTION
        module.train()
        module.clip.eval()
        # END SOLUTION
        # BEGIN PROMPT
        # module.train()
        # END PROMPT
        for images in batches:
            with torch.no_grad():
                v = module.clip(images)
            loss = F.l1_loss(F.normalize(module.student(images)), F.normalize(module.layer(v)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        module.eval()
        scores.append(validate(module.student))
    return scores


# %% check="12-bug"
check("12-bug", distil)

# %%
# What the defect costs: the same CLIP with drop path, asked in eval mode and in train mode.
awake = lab12.with_drop_path(clip, p.drop_path)
torch.manual_seed(0)
for mode in (False, True):
    awake.clip.train(mode)
    heard = torch.cat([awake.encode_image(x.image) for x in batches(birds.val, 100, device=device)])
    right = ((heard @ texts.T).argmax(1).cpu() == birds.val.labels).double().mean()
    if not mode:
        calm = heard
    print(f"{'train' if mode else 'eval'} mode: {right:.1%} of the validation images,", end=" ")
    print(f"mean cosine with the undisturbed embedding {(heard * calm).sum(1).mean():.3f}")
best = max(drawn, key=lambda words: interval(drawn[words]).mean)
print(f"Back to your guess: {my_guess}; the best row of section 7's figure is: {best}")

# %% [markdown] question="12-q-loss" points=2
# **Question 1.** A colleague distils with VL2Lite and reports: "the visual loss fell by three quarters, so the student has
# learned CLIP's image space." What else can have happened? Name two measurements from this lab that would tell the two
# stories apart, and what each would show.

# %% [markdown] rubric="12-q-loss"
# **Model answer.** The condensation layer is trained by the same loss, on the target's side: it can move towards what the
# student already does; in the extreme both go to one vector for all images. In section 4 the student was frozen, and the loss
# fell all the same, because the target came to it. Tell apart: (a) the spread of the condensed images over training, which
# falls towards 0 in a collapse, or takes the student's own value if the target merely imitates it; (b) the same loss with the
# student frozen, or with the layer held still: how much falls without, or only by, the student; (c) what the student can do:
# accuracy of its head or of its nearest condensed text on held-out images, beside the student alone. The visual loss against
# an untouched target (RKD's distances, or L_txt, whose target is raw) is also a fair answer.
#
# **Rubric.** 1 point: the target moves, too. 1 point: two measurements, each with its reading under either story.

# %% [markdown] question="12-q-when-not" points=3
# **Question 2.** Use the tables of sections 7 and 9. When would you *not* ask CLIP directly? Judge three situations, each with
# the number that decides or the measurement you would make first: (a) weights of your student that were pretrained on
# related images can be downloaded; (b) you have ten times as many labels; (c) the classes are serial numbers of machine parts.

# %% [markdown] rubric="12-q-when-not"
# **Model answer.** (a) Fine-tune those first: compare the row of the pretrained student alone with the three ways of asking
# in section 7; it lies far above them, so asking CLIP has to beat *it*, not the student from random weights. (b) The
# student's accuracy grows with its labels while CLIP's stays where it is (section 7's table: 43.9, 51.2 and 66.5 % at 6, 10
# and 20 labels; beyond that, a run of one's own); at 20 it has passed CLIP, and no way of asking leads it clearly any more.
# With still more labels a teacher that is so often wrong may even hold it back; softness alone (label smoothing) is the
# control. If asked at all, then with more weight for the labels. (c) No caption names them: measure the zero-shot accuracy on
# a small labelled sample, and within look-alike groups; near chance, KD and the texts teach noise. Image relations may still
# be of use (RKD reads no texts): a linear probe on CLIP's image embeddings tells whether they separate the parts.
#
# **Rubric.** 1 point each: a decision that agrees with a quoted number and its interval, or a concrete measurement before use.

# %% [markdown]
# ## 11 · What you should have seen
# - What CLIP says through its head depends on $s / T$: a table that prints "KD(CLIP)" without both can't be repeated.
# - A loss whose target is trained can be paid by either side. The loss doesn't tell which; the target's spread does, and so
#   does a frozen student. The text half can't be bought: its target is made in CLIP's raw space.
# - $\lambda$ decides who is heard when. "One eighth" has two readings, and they are different methods.
# - Students that ask CLIP for its answers or its texts beat the student alone where labels are few, though softness alone may
#   be a large part of that; asked only how far apart images are, CLIP gives no lead that shows, and with all labels no way of
#   asking does (section 7). Pretrained weights of the student's own, where they exist, are worth more than any of this.
# - Four heat maps prove nothing. Counted, and beside the controls, the students look at the telling parts far less than
#   the pictures suggest (section 8).
# - `eval()` is a state, not a promise: whoever owns the parent can end it.
#
# ## What the papers report
# ResNet-18 with ImageNet weights, top-1 in %; the teacher is CLIP's `convnext_xxlarge`:
#
# | | CUB | Aircraft | Dogs | Cars | NABirds | CUB, 30 % of the labels | 50 % |
# |---|---|---|---|---|---|---|---|
# | no distillation (VL2Lite) | 64.95 | 50.98 | 67.80 | 70.03 | 57.01 | | |
# | VL2Lite, its own paper | 71.38 | 55.87 | 72.40 | 77.09 | 63.26 | | |
# | VL2Lite as DAIT's paper reports it (quoted from an explainer, lab 13) | 71.38 | | | | | 50.32 | 60.87 |
# | VL2Lite as PAND's paper implies it | 72.69 | | | | | | |
# | DAIT, its own paper (quoted likewise) | 79.77 | 67.44 | 78.10 | 88.96 | 74.38 | 66.33 | 74.39 |
#
# Caveats. **Two papers disagree on one baseline**: PAND reports 76.09 on CUB, "3.4 above VL2Lite", while DAIT's table has
# VL2Lite's own 71.38. One run each, no intervals. The checkpoint is chosen on what is in fact the test split. 64.95 for a
# fine-tuned ResNet-18 is low: with a well tuned recipe one would expect clearly more, so that a part of every gain may be
# recipe. No table names CLIP's zero-shot accuracy beside its students, or $s$ and $T$ of KD(CLIP) and RKD(CLIP), which are
# therefore reconstructed here. Another competitor in these tables is RISE (Huang et al., *A sentence speaks a thousand
# images*, ICCV 2023, arXiv 2309.12530), built for domain generalisation: this course does not implement it, and its figures
# are left out because they couldn't be checked against their source.
#
# ## Read on
# - Jang et al., *VL2Lite: task-specific knowledge distillation from large vision-language models to lightweight networks*,
#   CVPR 2025: the method of sections 3 to 6.
# - Radford et al., *Learning transferable visual models from natural language supervision*, arXiv 2103.00020: CLIP.
# - Park et al., *Relational knowledge distillation*, arXiv 1904.05068: section 2, and lab 05, which is not in this release.
# - Selvaraju et al., *Grad-CAM*, arXiv 1610.02391: section 8.
# - *DAIT*, arXiv 2603.15166, and *PAND*, arXiv 2602.07768: labs 13 and 14.
