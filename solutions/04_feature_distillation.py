# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 04 · Feature distillation
#
# Lab 01's student hears what the teacher *answers*: one row of numbers for each image. How the teacher got there, where
# it looked and what it saw on the way, is never said. Sixty species of birds, a handful of labels for each, a good
# teacher and a tiny student: first the distance between them, then where both look.

# %% tags=["setup"]
import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import labkit
from labkit import answer, check, data, engine, methods, models, views
from labkit.bench import interval, lab04, pair, paired, read_results
from labkit.bench import lab04_seen as seen
from labkit.bench import lab04_tables as tables
from labkit.bench.matrix_rows import KINDS
from labkit.data import stream
from labkit.losses import hinton_kd
from labkit.rng import seed_everything
from labkit.views import Table, maps, show

profile = labkit.profile()
p = profile.lab(4)
torch.set_num_threads(p.threads)
device = "cuda" if torch.cuda.is_available() else "cpu"
results, aviary = read_results("lab04"), read_results("aviary")

# %% tags=["nbval-check-output"]
main = {"experiment": "main", "per_class": p.reported}
base = aviary.values(**main, method="scratch")
gap = [
    ["teacher", aviary.interval(**main, method="teacher")],
    ["student, alone, from random weights", interval(base)],
    ["the same, from pretrained weights", aviary.interval(**main, method="finetuned")],
]
note = f"Mean ± 95 % interval over {len(base)} seeds: {aviary.command}"
print(Table([f"{p.reported} labels per species", "test accuracy, %"], gap, note=note))

# %% [markdown]
# All saw the same few labels. The teacher started from weights that had seen many other birds, and has room for what they
# taught it; the student starts from nothing, as a network of your own design would. The last row is a warning: *where* a
# network starts can matter more than its size. We come back to it in section 8.
#
# **You will be able to**
# - *build* a connector that lets two networks of different width compare their features;
# - *implement* the hint loss, the attention map and the hierarchical context loss, and say what each keeps and drops;
# - *combine* several layers, labels and responses in one objective;
# - *judge* by measurement which layer to match, and when not to match any;
# - *find* a defect that public code really had: a part that nobody trains.
#
# **You need** PyTorch's basics and labs 01 and 03. **It takes** 75 to 90 minutes; the computing takes two to three
# minutes on a laptop's CPU, about twenty on a GPU with the `gpu` profile (CIFAR-10; its tables remain those of the
# birds). The runs over many seeds were computed for you; each table names its command.
#
# **Predict.** All networks here have four stages, numbered 0 (early, fine, simple) to 3 (late, coarse, abstract). If the
# student may copy *one* of the teacher's four maps, which will help it most? Write your guess down; we come back to it.

# %%
my_guess = 1  # the layer, 0 to 3: put your own number here
birds = pair.few(p, p.per_class, seed=0)
teacher, _ = pair.adapted(p, 0, p.per_class)  # its new head trained first, then all of it
alone = lab04.student(profile, "neither", 0)
nets = {"teacher": teacher, "alone": alone}
tests = {name: engine.evaluate(net, birds.test) for name, net in nets.items()}
for name, test in tests.items():
    weights = sum(x.numel() for x in nets[name].parameters())
    print(f"{name:>8}: {test.accuracy:.1%} of the test images, {weights:,} weights")
assert tests["teacher"].accuracy > tests["alone"].accuracy + 0.05, "nothing to teach: see the settings"

# %%
# The mistake the student makes most often where the teacher is right, and where both look (layer 3).
pick = seen.telling(tests["teacher"], tests["alone"], n=4)
few_birds = birds.test.subset(pick)
bird = few_birds[0][0]  # (3, S, S)
look = {name: seen.strongest(net, few_birds) for name, net in nets.items()}
short = ["\n".join(name.rsplit(" ", 1)).replace(" ", "\n", 1) for name in birds.classes]
said = {name: [short[c] for c in tests[name].predictions[pick]] for name in look}
fig = maps.plot_attention(few_birds.images, [short[c] for c in few_birds.labels], look, said, size=1.2)
fig.suptitle("What each network says; yellow: its last features are strong", fontsize=11)
show(fig, "Four birds, and over each the teacher's and the student's attention, on the same crop and scale")

# %% [markdown]
# **See:** the names on top are right, the teacher repeats them, the student says something else, mostly a look-alike. At
# every step it was told *that* it was wrong, never *where* the difference is. Do the two look at different places? Hard
# to say from four birds; section 8 counts.
#
# ## 1 · The simplest version: what the classifier reads
# **Why.** The last layer of a classifier is linear. All it knows of an image is one vector, the *embedding*. A student
# with the teacher's embedding, and its last layer, would have the teacher's accuracy, so copy that.
#
# **Formula.** Student's embedding $e^s$ $(B, D_S)$, teacher's $e^t$ $(B, D_T)$. Their widths differ, so a *linear
# connector* $W$ $(D_T, D_S)$, $b$ $(D_T)$ translates. It is learned together with the student, belongs to the method,
# and is thrown away afterwards:
#
# $$ L_{\mathrm{fc}} = \frac{1}{B\,D_T} \sum_{b=1}^{B} \sum_{d=1}^{D_T} \big( (W e^s_b + b)_d - e^t_{bd} \big)^2 \tag{1} $$
#
# **By hand.** $B = 2$, $D_T = 3$. Connected: $(1, 0, 2)$ and $(0, 1, 1)$; teacher: $(1, 1, 0)$ and $(0, 1, 3)$. The
# squares are $0, 1, 4$ and $0, 0, 4$, so $L_{\mathrm{fc}} = 9 / 6 = 1.5$.
#
# First on real handwritten digits, where a training takes seconds: lab 01's networks, with a few labels for the student.

# %%
digits, every_digit = (
    data.load("digits", seed=0, per_class=p.digits["per_class"]),
    data.load("digits", seed=0),
)
seed_everything(0)
guide = models.build("digit_teacher", 10)
engine.fit(methods.create("scratch", student=guide), every_digit, seed=0, **p.digits["teacher_training"])
guide = guide.to(device).requires_grad_(False).eval()


def pre_fc(weight, seed):
    """Train a digit student by hand with `weight` times formula (1); its test accuracy."""
    seed_everything(seed)
    student = models.build("digit_student", 10).to(device).train()
    connector = nn.Linear(student.embedding_dim, guide.embedding_dim).to(device)
    optimizer = torch.optim.Adam(
        [*student.parameters(), *connector.parameters()], lr=p.digits["training"]["lr"]
    )
    for b in stream(
        digits.train, 48, p.digits["training"]["steps"], seed=seed, augment=digits.augment, device=device
    ):
        out, target = student(b.image), guide(b.image).embedding
        loss = F.cross_entropy(out.logits, b.label) + weight * F.mse_loss(connector(out.embedding), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return engine.evaluate(student, digits.test).accuracy


found = {weight: [pre_fc(weight, seed) for seed in range(3)] for weight in (0.0, p.digits["weight"])}
for weight, values in found.items():
    print(f"weight {weight:g}: {interval(values)} % of the test digits")
print(f"matching the embedding adds {paired(found[p.digits['weight']], found[0.0])} points (3 seeds, paired)")

# %% [markdown]
# **See:** a dozen lines, no temperature, no change to the student, and the optimiser holds *two* modules. Keep that in
# mind for later. If the interval of the difference contains zero, three seeds can't tell; the birds will have more.
#
# ## 2 · A connector for maps
# **Why.** Pooling threw away *where*. A stage's map $F$, shape $(B, C, h, w)$, still has it. Again the channels differ, so
# a connector translates, now at every position alike: a 1x1 convolution. A BatchNorm after it brings the translation to
# a fixed scale, so that the convolution need not first learn how large the teacher's numbers are.
#
# **Formula.** $F^s$ $(B, C_S, h, w)$, kernel $K$ $(C_T, C_S)$:
#
# $$ r(F^s) = \mathrm{BN}\Big( \sum_{c=1}^{C_S} K_{\cdot c} \, F^s_{bc\,\cdot\,\cdot} \Big), \qquad
#    r(F^s): (B, C_T, h, w) \tag{2} $$
#
# No ReLU at its end: where one clips, no gradient flows. (Benchmarks put one there, which can fit only a teacher whose
# own map is nowhere negative. So are the maps of this lab's networks, which end with a ReLU; those of others are not.)
#
# **By hand.** Two channels on three positions, $(1, 2, 0)$ and $(0, 1, 3)$; one teacher channel with $K = (1, 1)$. The sum
# is $(1, 3, 3)$, its mean $7/3$, its standard deviation $0.943$, so $r = (-1.41, 0.71, 0.71)$: BatchNorm starts at
# mean 0 and deviation 1, then learns a factor and a shift for each channel.


# %% exercise="04-connector" look="section 2, formula (2)"
def connector(student_channels: int, teacher_channels: int) -> nn.Module:
    """A module from maps (B, student_channels, H, W) to (B, teacher_channels, H, W), formula (2)."""
    # BEGIN SOLUTION
    return nn.Sequential(
        nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(teacher_channels),
    )
    # END SOLUTION


# %% check="04-connector"
check("04-connector", connector)

# %% answer="04-connector"
connector = answer("04-connector", connector)

# %% [markdown]
# ## 3 · The hint loss
# **Why.** FitNets call a teacher's map a *hint*: this is what you should see here. The student's connected map is pulled
# towards it, number by number.
#
# **Formula.** With $u = F^t$, the teacher's map $(B, C_T, h, w)$, a constant:
#
# $$ L_{\mathrm{hint}} = \frac{1}{B\,C_T\,h\,w} \sum_{b,c,i,j} \big( r(F^s)_{bcij} - u_{bcij} \big)^2 \tag{3} $$
#
# The paper writes $\frac12 \lVert r - u \rVert^2$, a *sum* over the map with a half: $C_T h w / 2$ times as much. The
# weights that benchmarks quote (100) belong to the mean.
#
# **By hand.** One channel, a 2x3 map. $r = (1, 0, 2;\; 0, 1, 1)$, $u = (0, 0, 0;\; 0, 0, 1)$: the squares are $1, 0, 4;\;
# 0, 1, 0$, their mean is $1$, and the paper's form gives $3$.


# %% exercise="04-hint-loss" look="section 3, formula (3)"
def hint_loss(connected: Tensor, teacher_map: Tensor) -> Tensor:
    """Formula (3), a scalar.

    connected: (B, C, H, W), the student's map after the connector; teacher_map: (B, C, H, W), the target.
    """
    # BEGIN SOLUTION
    return F.mse_loss(connected, teacher_map.detach())
    # END SOLUTION


# %% check="04-hint-loss"
check("04-hint-loss", hint_loss)

# %% answer="04-hint-loss"
hint_loss = answer("04-hint-loss", hint_loss)

# %% [markdown]
# ## 4 · FitNet's two phases
# The paper trains in two phases. **Phase 1**: the student *up to the hint layer*, and the connector, with $L_{\mathrm{hint}}$
# alone. No labels; the later layers rest. **Phase 2**: the whole student on labels and responses, from where phase 1 left
# it, without hints. Benchmarks take a shortcut, all terms at once ("joint"). Section 8 compares both.
#
# Here is phase 1 with your connector and your loss. Before you run it: which rows of the table will be zero?

# %%
layer = 1
rookie = pair.create(p, "scratch", 0, p.per_class).deployed().to(device)
link = connector(rookie.map_channels[layer], teacher.map_channels[layer]).to(device)
before = copy.deepcopy((rookie, link))
optimizer = torch.optim.Adam([*rookie.parameters(), *link.parameters()], lr=0.01)
losses = []
for b in stream(birds.train, 48, p.phase_steps, augment=birds.augment, device=device):
    with torch.no_grad():
        target = teacher(b.image).maps[layer]
    loss = hint_loss(link(rookie.train()(b.image).maps[layer]), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"hint loss {losses[0]:.3f} -> {losses[-1]:.3f}; a map of zeros has {target.square().mean():.3f}")

# %%
far = seen.moved(before[0], rookie) | {"connector": max(seen.moved(before[1], link).values())}
print(Table(["part", "moved by, share of its length"], [[part, f"{x:.2f}"] for part, x in far.items()]))


@torch.no_grad()
def maps_at(net, link=None):
    """The map of the first bird at the hint layer, connected where there is a connector: (C, h, w)."""
    found = net.eval()(bird[None].to(device)).maps[layer]
    return (found if link is None else link.eval()(found))[0].cpu()


drawn = {
    "teacher": maps_at(teacher),
    "student, before": maps_at(*before),
    "student, after": maps_at(rookie, link),
}
strong = drawn["teacher"].mean((1, 2)).topk(2).indices.tolist()
rows = {f"channel {c}": [x[c] for x in drawn.values()] for c in strong}
fig = maps.plot_layers(bird, rows, list(drawn), "Phase 1: the student learns to draw like its teacher")
show(fig, "Two channels of the teacher's map, and the student's connected map before and after phase 1")

# %% [markdown]
# **See:** stages above the hint layer, and the head, did not move: the hint doesn't depend on them, so no gradient
# reaches their weights. (The statistics of their BatchNorms did: the images pass through them in train mode.)
# Everything else moved, the connector too. On the right the student's map has taken on the teacher's pattern after a
# few dozen steps, without a single label. (The pattern: each picture has its own scale of colours, and in eval mode, as
# drawn here, the numbers are still some way off.)
#
# ## 5 · Attention
# **Why.** A hint asks for every number of the teacher's map, which so much smaller a student can't deliver.
# Perhaps the *place* is enough: where are the features strong? Averaged over channels there is nothing to translate,
# and no connector.
#
# **Formula.** Features $F$ $(B, C, h, w)$; positions $i$ run over $h \cdot w$:
#
# $$ m_{bi} = \frac{1}{C} \sum_{c=1}^{C} |F_{bci}|^p, \qquad
#    a_{bi} = \frac{m_{bi}}{\sqrt{\sum_j m_{bj}^2}}, \qquad a: (B, hw) \tag{4} $$
#
# The power first, then the mean over channels; length 1 for every *image*. $p = 2$ in the paper. Where two networks'
# maps differ in size, the larger *features* are average-pooled first, then formula (4) is applied.
#
# **By hand.** Two channels, three positions, a 2x3 table: $(3, 0, 1)$ and $(1, 2, 1)$, $p = 2$. Squares $(9, 0, 1)$, $(1, 4,
# 1)$, means $m = (5, 2, 1)$, length $\sqrt{30} = 5.48$, so $a = (0.91, 0.37, 0.18)$. The power *after* the mean would
# give $(0.94, 0.24, 0.24)$: the second and the third place could not be told apart.


# %% exercise="04-attention-map" look="section 5, formula (4)"
def attention_map(features: Tensor, size: int, p: float = 2) -> Tensor:
    """Attention map, formula (4).

    features: (B, C, H, H); if H > size they are average-pooled to size x size first
    (F.adaptive_avg_pool2d). Returns (B, size * size), each row of length 1.
    """
    # BEGIN SOLUTION
    if features.shape[-1] > size:
        features = F.adaptive_avg_pool2d(features, size)
    strength = features.abs().pow(p).mean(dim=1)
    return F.normalize(strength.flatten(1), dim=1)
    # END SOLUTION


# %% check="04-attention-map"
check("04-attention-map", attention_map)

# %% answer="04-attention-map"
attention_map = answer("04-attention-map", attention_map)

# %%
# Your maps of the first bird at all four layers, and how far teacher and student are apart: formula (5).
image = bird[None].to(device)
with torch.no_grad():
    features = {name: net(image).maps for name, net in nets.items()}
sizes = [min(s.shape[-1], t.shape[-1]) for s, t in zip(*features.values(), strict=True)]
places = {name: list(map(attention_map, found, sizes)) for name, found in features.items()}
rows = {
    name: [a.unflatten(1, (n, n))[0].cpu() for a, n in zip(places[name], sizes, strict=True)] for name in nets
}
titles = [f"layer {i}" for i in range(4)]
fig = maps.plot_layers(bird, rows, titles, "From edges to parts: one bird at four depths")
show(fig, "Attention of teacher and student at four layers beside the image: fine early, coarse late")
for title, n, t, s in zip(titles, sizes, *places.values(), strict=True):
    print(f"{title}, {n:2} x {n:2}: {F.mse_loss(s, t).item():.5f}, at most {2 / n**2:.5f}")

# %% [markdown]
# The loss of **attention transfer** compares the maps of several layers $l$, each with its $N_l = h_l w_l$ positions:
#
# $$ L_{\mathrm{AT}} = \sum_{l} \frac{1}{B\,N_l} \sum_{b,i} \big( a^{s,l}_{bi} - a^{t,l}_{bi} \big)^2 \tag{5} $$
#
# **See:** two rows of length 1 without negative numbers differ by at most $\sqrt 2$, so a layer can contribute at most
# $2 / N_l$: tiny numbers, hence the published weight of 1000, and an early layer with its many positions counts least.
# Whether the place is enough, sections 8 and 9 measure.
#
# ## 6 · ReviewKD: look back from above
# **Why.** Early teacher maps are hard for an early student stage, which has seen little. But *later* student stages know
# more. ReviewKD lets them help: from the deepest level up to the shallowest, an *attention-based fusion* (ABF) adds what
# came from the deeper level, and the fused map is compared with the teacher's map of this level. The deepest level is
# the embedding, as a map of 1x1.
#
# **Formula of the fusion.** A student's map $f$ $(B, C_S, h, w)$ and the deeper level's $y$, enlarged to $(B, m, h, w)$, enter
# with the same $m$ channels; two gates $z_0, z_1$ in $(0, 1)$ weigh them, place by place:
#
# $$ x = \mathrm{BN}(K * f), \qquad z = \mathrm{sigmoid}\big( G * [x; y] \big): (B, 2, h, w), \qquad
#    x' = z_0\, x + z_1\, y $$
#
# $K$ and $G$ are 1x1 convolutions, $[x; y]$ stacks channels. $x'$ goes on to the shallower level and, through a 3x3 convolution
# and a BatchNorm to the teacher's width, into the loss. **By hand**, one place, $m = 1$: $x = 2$, $y = -1$, gates before the
# sigmoid $(0, \ln 3)$. So $z = (0.5, 0.75)$ and $x' = 1 - 0.75 = 0.25$. The gates need not add up to 1.
#
# **Formula of the loss.** It asks at several coarsenesses: the *hierarchical context loss* (HCL). For maps $S, T$
# $(B, C, h, h)$, with $\mathrm{pool}_k$ the average pooling to $k \times k$ and MSE the mean over all elements:
#
# $$ L_{\mathrm{HCL}} = \frac{\mathrm{MSE}(S, T) + \sum_{k} w_k \, \mathrm{MSE}(\mathrm{pool}_k S, \mathrm{pool}_k T)}
#    {1 + \sum_k w_k}, \qquad k \in \{4, 2, 1\},\; k < h \tag{6} $$
#
# $w = \frac12, \frac14, \frac18$ in the order *in which they are used*: for $h = 8$ the sizes 4, 2, 1, for $h = 4$ only 2
# and 1, with $\frac12$ and $\frac14$. A size that is skipped must not halve the weight. Levels are summed.
#
# **By hand.** Differences $S - T$ of two 2x2 maps: $(1, -1;\; 1, -1)$ and $(1, 1;\; 1, 1)$. Both have MSE 1. Pooled to 1x1
# they are $0$ and $1$. $L_{\mathrm{HCL}} = (1 + \frac12 \cdot 0) / 1.5 = 0.67$ against $(1 + \frac12) / 1.5 = 1$: a pattern
# that is slightly displaced costs less than one that is missing.


# %% exercise="04-hcl" look="section 6, formula (6)"
def hcl(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Hierarchical context loss of one level, formula (6), a scalar.

    student_map, teacher_map: (B, C, h, h); the teacher's is a constant.
    F.adaptive_avg_pool2d(x, k) averages to k x k; F.mse_loss takes the mean over all elements.
    """
    # BEGIN SOLUTION
    teacher_map = teacher_map.detach()
    total, weight, weights = F.mse_loss(student_map, teacher_map), 1.0, 1.0
    for size in (4, 2, 1):
        if size < student_map.shape[-1]:
            weight /= 2
            pooled = [F.adaptive_avg_pool2d(x, size) for x in (student_map, teacher_map)]
            total = total + weight * F.mse_loss(*pooled)
            weights += weight
    return total / weights
    # END SOLUTION


# %% check="04-hcl"
check("04-hcl", hcl)

# %% answer="04-hcl"
hcl = answer("04-hcl", hcl)

# %%
show(
    maps.plot_fusion(),
    "The fusion as boxes: the student's map and the deeper one, gated, added, sent to the loss",
)
with torch.no_grad():
    goal = drawn["teacher"][None]  # the map of section 4
    others = {"one place to the right": goal.roll(1, dims=-1)}
    others["its mean everywhere"] = goal.mean((2, 3), keepdim=True).expand_as(goal)
    print("the teacher's map against ...")
    for name, other in others.items():
        plain, context = F.mse_loss(other, goal), hcl(other, goal)
        print(f"{name:>24}: MSE {plain:.4f}, HCL {context:.4f}, a share of {context / plain:.0%}")

# %% [markdown]
# **See:** pooling can only make differences smaller, so HCL is never above the MSE; read the last column. Of a displaced map
# less is left than of one that says nothing of places: seen from afar, it is much like the original.
#
# ## 7 · Several layers, labels and responses
# **Why.** A layer's hint is one term among others. Several layers have a connector *each*; the labels keep the student on
# its task; and the responses of lab 01 can join.
#
# **Formula.** Layers $l_1, \ldots, l_K$ with connectors $r_1, \ldots, r_K$:
#
# $$ L = \mathrm{CE}(z^s, y) + w \sum_{k=1}^{K} L_{\mathrm{hint}}\big( r_k(F^{s, l_k}), F^{t, l_k} \big)
#    + w_{\mathrm{KD}} \, L_{\mathrm{KD}}(z^s, z^t) \tag{7} $$
#
# A sum over layers, not a mean. The connector of layer $l_k$ is the $k$-th, not the $l_k$-th: with layers 1 and 3 there are
# connectors 0 and 1.
#
# **By hand.** Cross-entropy 1.2; hints 0.03 and 0.05 with $w = 10$; $L_{\mathrm{KD}} = 0.4$ with $w_{\mathrm{KD}} = 0.5$:
# $L = 1.2 + 10 \cdot 0.08 + 0.5 \cdot 0.4 = 2.2$.


# %% exercise="04-objective" look="section 7, formula (7)"
def objective(student, teacher, labels, connectors, layers, weight, kd_weight, temperature) -> Tensor:
    """Formula (7), a scalar.

    student, teacher: outputs on the same images, with .logits (B, N) and .maps, four of (B, C, H, W);
    labels: (B,); connectors: one for each entry of layers, in that order, such as layers = (1, 3).
    hint_loss is yours; hinton_kd(student_logits, teacher_logits, temperature) contains T^2.
    """
    # BEGIN SOLUTION
    hints = [
        hint_loss(link(student.maps[layer]), teacher.maps[layer])
        for link, layer in zip(connectors, layers, strict=True)
    ]
    responses = hinton_kd(student.logits, teacher.logits, temperature)
    return F.cross_entropy(student.logits, labels) + weight * sum(hints) + kd_weight * responses
    # END SOLUTION


# %% check="04-objective"
check("04-objective", objective)

# %% answer="04-objective"
objective = answer("04-objective", objective)


# %%
def short_training(weight, kd_weight, layers=(1, 3)):
    """A few steps with your objective: the gradient's length in the first, the student's accuracy at the end."""
    rookie = pair.create(p, "scratch", 0, p.per_class).deployed().to(device).train()
    links = nn.ModuleList(connector(rookie.map_channels[i], teacher.map_channels[i]) for i in layers).to(
        device
    )
    optimizer, pulls = torch.optim.Adam([*rookie.parameters(), *links.parameters()], lr=0.01), []
    for b in stream(birds.train, 48, p.objective_steps, augment=birds.augment, device=device):
        with torch.no_grad():
            goal = teacher(b.image)
        optimizer.zero_grad()
        objective(rookie(b.image), goal, b.label, links, layers, weight, kd_weight, 4.0).backward()
        pulls.append(torch.cat([x.grad.flatten() for x in rookie.parameters()]).norm().item())
        optimizer.step()
    return pulls[0], engine.evaluate(rookie, some).accuracy


some = birds.test.few(p.cka_per_class, seed=0)
settings = {"labels": (0, 0), "and hints, weight 1": (1, 0), "and hints, weight 100": (100, 0)}
settings["and responses, too"] = (100, 1)
rows = [[name, *short_training(*weights)] for name, weights in settings.items()]
rows = [[name, f"{pull:.2f}", f"{accuracy:.1%}"] for name, pull, accuracy in rows]
print(Table(["terms, layers 1 and 3", "pull, first step", f"after {p.objective_steps} steps"], rows))

# %% [markdown]
# **See:** at weight 1 the hints add little to the labels' pull; at 100 nearly all of the step is theirs. That tells you
# which term steers, not which one should: drowned labels do no harm in the last column (few steps, one seed, a few hundred
# images: no more than a sign), and validation will choose the 100 in section 8. Print such a table for every new loss,
# then let validation decide.
#
# ## 8 · The experiment
# The same few labels, the same student, initialisation, steps and augmentation for every method; the teacher's outputs on
# fixed augmented views were stored once. Controls: the student **alone**, with **label smoothing**, and **pretrained**: the
# same network that starts where the teacher started and is fine-tuned without any teacher. Every method's settings were
# chosen among six on validation images with a seed that is not reported.

# %% tags=["nbval-check-output"]
methods_run = [m for m in KINDS if aviary.select(**main, method=m)]
runs = {KINDS[m].words: aviary.values(**main, method=m) for m in methods_run}
note = f"Mean ± 95 % interval over {len(base)} seeds; differences in points, paired: {aviary.command}"
against = ["scratch", "label_smoothing", "finetuned", "hinton"]
against = dict(
    zip((KINDS[m].words for m in against), ("alone", "smoothing", "pretrained", "KD"), strict=True)
)
print(tables.gains(runs, against, f"{p.reported} labels per species", note))
print(
    f"Each had {p.training['steps']} steps, and {len(birds.val)} labelled validation images chose epoch and settings."
    f"\nA step of ReviewKD takes {KINDS['reviewkd'].cost} times that of the student alone, one of the chain"
    f" {KINDS['takd'].cost} times."
)
photos = read_results("cifar10")
many = [photos.gain({"method": "hinton", "epochs": n}, {"method": "scratch", "epochs": n}) for n in (3, 10)]
print(
    f"CIFAR-10, {photos.rows[0]['per_class']} labels a class, KD minus alone: {many[0]} after 3 epochs, {many[1]} after 10."
)
drawn_rows = {KINDS[m].words: runs[KINDS[m].words] for m in p.drawn}
top = {"teacher": aviary.interval(**main, method="teacher").mean}
fig = views.plot_seeds(drawn_rows, top, "test accuracy; a point is a seed, a bar the mean")
fig.axes[0].set_title("Only ReviewKD comes up to the student that started pretrained", pad=18)
show(fig, "Points of test accuracy by seed for each method, their means as bars, and the teacher's line")

# %%
# And once live: one seed of ReviewKD beside the student alone; it should fall among the points.
review, distilled = lab04.distil(p, p.kinds[p.live], 0)
tests["distilled"] = engine.evaluate(distilled, birds.test)
for name, test in tests.items():
    print(f"{name:>9}: {test}")
assert tests["distilled"].accuracy > tests["alone"].accuracy - 0.03, "the teacher should not hurt here"
sizes = [sum(x.numel() for x in part.parameters()) for part in (review.fusions, distilled)]
print(f"weights: {sizes[0]:,} in the fusions, thrown away now; {sizes[1]:,} in the student")

gates = seen.gates(review, bird[None].to(device))
rows = {f"$z_{i}$: {what}": [z[i] for z in gates] for i, what in enumerate(("own map", "from above"))}
levels = [f"level {i}, mean\n{z[0].mean():.2f}, {z[1].mean():.2f}" for i, z in enumerate(gates)]
fig = maps.plot_layers(bird, rows, levels, "ReviewKD's gates for one bird: bright is let in", top=1)
show(fig, "ReviewKD's two gates for one bird at each of the four levels, as maps from 0, dark, to 1, bright")

nets["distilled"] = distilled  # where do they look? The attention on the bird, and on its telling parts
shares = seen.looks(some, {name: seen.strongest(net, some) for name, net in nets.items()})
rows = [[name, *(f"{x:.0%}" for x in share.values())] for name, share in shares.items()]
print(Table([f"who looks, {len(some)} images", *(f"on the {part}" for part in seen.PARTS)], rows))

# %% [markdown]
# **See:** the gates say how far a level relies on its own map (upper row) and on the deeper ones (lower row), place by place;
# where the lower row is dark, nothing is reviewed. Whether it helps is for section 11 to measure. *Who looks where*: *chance* is the parts' share of the picture,
# *centre* somebody who always looks at the middle. By this measure even the teacher need not beat the middle: strong
# features are a crude sign of what a network *uses*. It is one seed.
#
# In the first table, read the columns of differences. Every method that asks the teacher leads the student alone by an
# interval clear of zero, and softness without a teacher (label smoothing) explains little of it. The third control explains
# much more: the same small network, *started where the teacher started* and fine-tuned without any teacher, is about level
# with ReviewKD and ahead of every other method that starts from nothing. So most of what these methods hand over is what
# the teacher had learned *elsewhere*. Where pretrained weights of your student exist, fine-tune them first; what a teacher
# then still adds is the difference in the row of the *pretrained student* with KD. Distil into an empty network where
# there are none: a design of your own, another input, a chip that dictates the layers.
#
# Against plain responses the picture divides: one kind of feature at its usual layer, with the labels alone, falls behind
# them, while those that combine do not: features and responses (attention + KD, FitNet's two phases, whose second phase
# distils), and many levels at once (ReviewKD). Section 5 asked whether the place is enough: alone it is not, beside
# responses it adds a little. Three more things to hold against the table: equal steps are not equal time (the line below
# it); the budget is not quite what its name says, since there are more labels in validation than in training, for every row
# alike; and many labels leave less to gain (CIFAR-10). Is the feature to blame for falling behind, or the layer?
#
# ## 9 · Which layer, and what of it?
# One layer at a time, all else equal, for every layer the same weight: the hint (published: layer 1) and the attention map
# (published: 1, 2 and 3 together). Then the last maps again, pooled before the hint compares them, down to one position:
# that is almost *pre-fc*. Sweeps have fewer seeds than section 8, and so other means.

# %% tags=["nbval-check-output"]
print(tables.layers(results, {"fitnet": "hint", "attention": "attention"}, base))
hints, places = (tables.by_layer(results, method) for method in ("fitnet", "attention"))
count = len(hints[0])
flat = {"responses": aviary.values(**main, method="hinton"), "labels alone": base}  # they match no layer
curves = {name: [interval(x) for x in runs_of] for name, runs_of in (("hint", hints), ("attention", places))}
fig = maps.plot_depths(
    curves,
    "The last map is the best hint, but not the best attention map",
    {name: interval(values[:count]) for name, values in flat.items()},
)
show(
    fig,
    "Accuracy over the matched layer: the hint rises to layer 3, attention peaks at 1; bands for no layer",
)
best = max(seen.LAYERS, key=lambda i: interval(hints[i]).mean)
print(f"You guessed layer {my_guess}; the best of {count} seeds is layer {best}.")
print("hint, best minus layers 0 to 3:", ", ".join(str(paired(hints[best], x)) for x in hints))

pooled = {"as they are": hints[3]}
pooled |= {f"pooled to {n}x{n}": results.values(experiment="pool", pool=n) for n in p.pooled}
pooled["the embedding: pre-fc"] = aviary.values(**main, method="pre_fc")[:count]
loud = "pre_fc, ten times as loud"
pooled["pre-fc, ten times as loud"] = results.values(experiment="variant", method=loud)
note = f"{count} seeds, differences in points, paired: {results.command}"
against = {"as they are": "as they are", "pooled to 1x1": "1x1"}
print(tables.gains(pooled, against, "the last maps, compared ...", note))

# %% [markdown]
# **See:** for the hint, the later the map, the more it helps, and by far: at layer 0 the gain's interval contains zero, the
# last map passes even the responses. For attention the order is another one: layer 1 helps most, and no layer comes near the
# responses. So no layer is *the* right one; it depends on what is asked of it. (An early map shows edges and colours,
# which the student perhaps finds by itself; late maps of attention are blobs with little left to tell.)
#
# Why is *pre-fc* so far behind the hint at the same layer? One would guess: because a map shows *where*. The second table
# tests it, and the guess explains only a part. Averaged to 4x4 or 2x2 the maps do about as well; a single position loses
# something, but is still ahead of pre-fc, which compares the very same averages. Nor is pre-fc too quiet (last row). What
# remains is the connector: section 2's has a BatchNorm, pre-fc's is a bare linear layer, which perhaps learns the scale of
# the teacher's numbers too slowly. Two cautions: one weight serves all layers, and both networks are of one family;
# question 2 shows what happens when they are not.
#
# ## 10 · Do they see alike? CKA
# **Why.** Maps of different width can't be subtracted. But one can ask whether two layers find the same *images* similar.
#
# **Formula.** Features $X$ $(n, p)$ and $Y$ $(n, q)$ of the same $n$ images, columns centred:
#
# $$ \mathrm{CKA}(X, Y) = \frac{\lVert Y^{\top} X \rVert_F^2}{\lVert X^{\top} X \rVert_F \, \lVert Y^{\top} Y \rVert_F}
#    \in [0, 1] \tag{8} $$
#
# It is 1 for features that differ by a rotation and a scale, and does not change with the numbering of channels. For
# unrelated noise of many more features than images this *biased* estimate tends to 1, and is far above 0 already at as
# many; the *unbiased* one leaves each image's similarity with itself out and stays near 0 for unrelated features. Maps
# are pooled to 4x4 and flattened here.
#
# **By hand.** Three images, $p = q = 1$: $X = (1, 0, -1)$, $Y = (2, -1, -1)$. $Y^\top X = 3$, $X^\top X = 2$, $Y^\top Y = 6$:
# $\mathrm{CKA} = 9 / 12 = 0.75$, the squared correlation.

# %%
for n_images in (50, len(some)):
    x = torch.randn(n_images, 512, generator=torch.Generator().manual_seed(0))
    y = torch.randn(n_images, 512, generator=torch.Generator().manual_seed(1))
    biased, unbiased = models.cka(x, y), models.cka(x, y, unbiased=True)
    print(f"noise, {n_images} images, 512 features: biased {biased:.2f}, unbiased {unbiased:.2f}")
untrained = lab04.student(profile, "untrained", 0).to(device)
stages = {"before training": untrained, "trained alone": alone, "distilled": distilled}
matrices = {name: seen.layer_cka(net, teacher, some) for name, net in stages.items()}
fig = maps.plot_cka(matrices, list("0123"), "Every student layer against every teacher layer (one seed)")
show(fig, "Three 4x4 matrices of CKA between student and teacher layers: untrained, alone, distilled")

# %% tags=["nbval-check-output"]
names = {
    "untrained": "before training",
    "neither": "trained alone",
    "features": "trained with hints at layer 1",
}
print(tables.inside(results, names))

# %% [markdown]
# **See:** an untrained student already resembles the teacher's layer 0: both show little more than the image itself, so a
# high CKA alone proves nothing. With the hint, in the table, it is near 1 at the matched layer. That is not a matter of
# course: the loss asks only that a *linear translation* fits, and CKA allows no more than a rotation and a scale. Look
# at the layers *above*, too, which nobody matched. The figure's distilled student had all levels matched, after the fusion.
#
# ## 11 · Together: features and responses, and several layers
# Two sources of knowledge, each with and without the other; $w_{\mathrm{KD}}$ and the labels' weight as in plain KD, where the
# labels count a tenth. So the hint is ten times louder beside them than in *features*: the row *features, quiet labels*
# has that alone. Then several layers: two hints summed, and ReviewKD's five levels with and without the fusion (its gates
# taken out, each level compared by itself).

# %% tags=["nbval-check-output"]
both = {name: results.values(experiment="combine", method=name) for name in p.combined}
count = len(both["both"])
alone_of = {"labels alone": "scratch", "responses": "hinton", "features": "fitnet"}
together = {name: aviary.values(**main, method=m)[:count] for name, m in alone_of.items()}
together |= {"features, quiet labels": both["quiet labels"], "both": both["both"]}
print(tables.gains(together, list(alone_of), "labels and ...", note))
several = {
    f"hint at layer {best}": hints[best],
    "hints at layers 1 and 3": results.values(experiment="variant", method="two layers"),
    "ReviewKD, not fused": results.values(experiment="variant", method="reviewkd, not fused"),
    "ReviewKD": aviary.values(**main, method="reviewkd")[:count],
}
print(tables.gains(several, list(several)[::3], "several layers", note))
print(f"both minus the hint at layer {best} alone: {paired(both['both'], hints[best])}")

# %% [markdown]
# **See:** in the first table the last row's columns say what the second source adds to the first. Quiet labels alone change
# nothing that these seeds can show, so it is the responses that add to the features. But the hint here is at layer 1: *both*
# is no better than the best layer of section 9 alone (last line). Choosing the layer can be worth as much as adding a source.
#
# The second table asks the same of more layers. Two hints are not clearly better than the better one of them, and ReviewKD
# without its fusion is, on these birds, not worse than with it. Many levels are as good as the best one, without your having
# to know it: that is what they are worth here. That deeper levels explain the shallower ones is an idea which this pair of
# networks seems not to need, perhaps since their stages correspond. The paper, with other pairs and far longer
# trainings, reports a gain of the fusion.
#
# ## 12 · Break it: the weight
# Back to section 1, where a run takes seconds: the weight of the matched embedding over five powers of ten, on the digits.
# Which end do you expect to be worse, no teacher at all or hardly any label?

# %% tags=["nbval-check-output"]
by_weight = results.sweep("weight")
print(by_weight.table("weight of formula (1)", [f"{w:g}" for w in by_weight.values], note=results.command))
none, *rest = by_weight.intervals
fig = views.plot_sweep(
    by_weight.values[1:], *zip(*rest, strict=True), xlabel="weight", lines={"no teacher": none}, log=True
)
fig.axes[0].set_title("On the digits a quiet teacher is wasted; a loud one does no harm")
show(fig, "Test accuracy on digits over the weight on a logarithmic axis, with a line for no teacher")

tried = [row for row in aviary.select(experiment="tuning", method="attention") if row["lr"] == 0.05]
tried = [
    [f"{row['weight']:g}", f"{100 * row['val']:.1f}"] for row in sorted(tried, key=lambda row: row["weight"])
]
print(Table(["weight of attention, birds", "validation accuracy, % (one seed)"], tried))

# %% [markdown]
# **See:** on the digits the quiet end is the bad one. Loud does no harm there: below the head the features come from the
# teacher alone, the head's own gradient is that of the labels at every weight, and Adam divides the large gradient of the
# rest by its size, so that no step explodes. Attention on the birds falls at the loud end in the tuning runs (second
# table, one seed each, so no more than a sign). There the gradient is clipped to length 1, and nearly all of it is the
# attention's.
#
# ## 13 · Find the bug
# A widely read notebook keeps its connector where it is used, inside the loss: `hint` below is a module,
# `hint(student_map, teacher_map)` connects the student's map and returns formula (3). The loss falls, nothing complains,
# and yet something stands still. `pairs` yields (images, labels); find the line and mend it.


# %% exercise="04-bug" look="section 4: what should move in phase 1, and what did?"
def phase_one(student, teacher, hint, pairs, layer, lr):
    """FitNet's first phase: hints alone, over `pairs` of (images, labels); the loss of each step."""
    # BEGIN SOLUTION
    optimizer = torch.optim.SGD([*student.parameters(), *hint.parameters()], lr=lr)
    # END SOLUTION
    # BEGIN PROMPT
    # optimizer = torch.optim.SGD(student.parameters(), lr=lr)
    # END PROMPT
    losses = []
    for images, _ in pairs:
        with torch.no_grad():
            target = teacher(images).maps[layer]
        loss = hint(student(images).maps[layer], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% check="04-bug"
check("04-bug", phase_one)

# %% [markdown] question="04-q-layer" points=2
# **Question 1.** A colleague reads off section 9 that one layer is "the best one to match" and wants to fix it for all
# projects. What do the paired intervals allow you to say, and what does the experiment *not* control between layers?
# Name a measurement that would.

# %% [markdown] rubric="04-q-layer"
# **Model answer.** Only differences whose interval excludes zero are an order; neighbouring layers whose interval
# contains zero are not told apart by these seeds. The layers also differ in things beside their depth: size of the map
# and number of elements, scale of the targets, capacity of the connector, and so in what one common weight does. A
# fair comparison tunes the weight for each layer on validation, as for methods, or at least compares the size of
# the gradients (section 7). Hint and attention even disagree about the order. And it is one pair of networks of one family at one label budget; another pair needs its
# own measurement.
#
# **Rubric.** 1 point: quotes paired differences *with* intervals and draws no order where zero is inside. 1 point: names a
# confounder (weight, scale, map size, connector) with the measurement that removes it.

# %% [markdown] question="04-q-when-not" points=2
# **Question 2.** In the table below, attention transfer from VGG-13 to MobileNetV2 *lowers* the student by five points.
# Give a reason why features of another architecture may be a bad target, and say how you would notice before
# shipping. Name a second situation in which you would not use feature distillation at all.

# %% [markdown] rubric="04-q-when-not"
# **Model answer.** Stages of different architectures don't correspond: depth, receptive field, place of the
# nonlinearity and what is coded at a given size differ, so the student is forced to look, at some stage, at what it
# can't compute there or doesn't need, against its own labels' gradient. Notice: the student alone with the same budget
# stands beside every result, paired over seeds; CKA between the layers to be matched is low even after training alone;
# the accuracy falls as the weight grows. Responses (KD 67.37 against 64.60) have no such demand. Not at all: the
# teacher's features are not accessible (an API returns labels or probabilities); plentiful labels, so that the gap is
# within the noise; a teacher whose maps are useless for the task (untuned, or other classes and images); a student so
# small that copying maps costs it the task: a weight sweep shows it.
#
# **Rubric.** 1 point: layers don't correspond, with a concrete measurement (control alone, CKA, weight). 1 point: a second
# situation with its reason.

# %% [markdown]
# ## 14 · What you should have seen
# - A connector translates between widths, belongs to the method, is trained with the student and thrown away.
# - Hints ask for numbers, attention maps for places, HCL for both at several coarsenesses.
# - A loss's weight depends on its reduction and on its layer: measure gradients before you trust a published one.
# - With few labels each kind of feature, at its usual layer, helps a student that starts from nothing by far more than
#   softness does; features *and* responses, several levels at once, or the right level, help most (sections 8, 9 and 11).
# - A student that may start where its teacher started has most of that gain without a teacher (section 8): the control
#   without which none of these numbers can be read.
# - Which layer is best depends on the loss (section 9), and a connector's BatchNorm can matter as much as the layer.
# - A matched layer becomes similar to the teacher's, and layers above it follow; similarity is no proof of quality.
# - In FitNet's first phase only the lower part of the student and the connector move.
#
# ## What the papers report
# CIFAR-100, top-1 in %, from the benchmark of CRD's authors; ReviewKD from its own paper:
#
# | | WRN-40-2 to WRN-16-2 | resnet32x4 to resnet8x4 | VGG-13 to MobileNetV2 |
# |---|---|---|---|
# | teacher | 75.61 | 79.42 | 74.64 |
# | student alone | 73.26 | 72.50 | 64.60 |
# | KD (responses) | 74.92 | 73.33 | 67.37 |
# | FitNet (joint, weight 100) | 73.58 | 73.50 | 64.14 |
# | AT | 74.08 | 73.44 | **59.40** |
# | ReviewKD | 76.12 | 75.63 | 70.37 |
#
# Caveats: 240 epochs on 50 000 labelled images, where plain responses are hard to beat; no intervals; the last epoch's
# accuracy in the first source, the best on the *test* images in some later ones; one weight for all pairs; FitNets' own
# paper trains in two phases a student that is deeper than its teacher. The third column is the one to remember.
#
# ## Read on
# - Romero et al., *FitNets: hints for thin deep nets*, arXiv 1412.6550: hints, two phases.
# - Zagoruyko, Komodakis, *Paying more attention to attention*, arXiv 1612.03928: attention transfer.
# - Chen et al., *Distilling knowledge via knowledge review*, arXiv 2104.09044: ABF and HCL.
# - Tian, Krishnan, Isola, *Contrastive representation distillation*, arXiv 1910.10699: the benchmark quoted above, and lab
#   05's last loss.
# - Kornblith et al., *Similarity of neural network representations revisited*, arXiv 1905.00414: CKA; Nguyen et al., arXiv
#   2010.15327: its unbiased estimate in batches.
# - Heo et al., *A comprehensive overhaul of feature distillation*, arXiv 1904.01866: which position, which transform, which
#   distance.
