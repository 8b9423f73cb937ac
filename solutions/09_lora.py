# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 09 · LoRA
#
# Somebody else has pretrained a network, and you have a task with few labels. You can train a new last layer on its
# frozen features: cheap, but the features stay what they are. Or you can train everything: a little better, and now you
# own a full copy of the network for this task, another for the next, and so on. Here is what the two cost.

# %% tags=["setup"]
import math
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from matplotlib.ticker import MaxNLocator, PercentFormatter
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments

import labkit
from labkit import answer, check, data, engine, models, views
from labkit.bench import interval, lab09, paired, read_results
from labkit.data import stream
from labkit.models import lora
from labkit.rng import seed_everything
from labkit.views import Table, show

profile = labkit.profile()
p = profile.lab(9)
torch.set_num_threads(p.threads)
device = "cuda" if torch.cuda.is_available() else "cpu"
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
results = read_results("lab09")

# %% tags=["nbval-check-output"]
main = {"experiment": "main"}
names = {"probe": "new last layer", "full": "everything"}
costs = {method: results.select(experiment="cost", method=method)[0] for method in lab09.METHODS}
n = len(results.values(**main, method="full"))
rows = [
    [name, results.interval(**main, method=m), f"{costs[m]['disk'] / 1e6:.2f}"] for m, name in names.items()
]
columns = ["what is trained", "test accuracy, %", "MB stored for each task"]
print(Table(columns, rows, note=f"Mean ± 95 % interval over {n} seeds."))

# %% [markdown]
# The network here is small; multiply the right-hand column by a thousand for a large one, and by the number of your
# tasks. LoRA, *low-rank adaptation*, keeps the pretrained weights frozen and trains a small correction to some of
# them. It asks how much of the gain in the middle column can be had for how little of the right one.
#
# **You will be able to**
# - *derive* why a low-rank correction is cheap, and *implement* a layer that has one;
# - *adapt* a vision transformer with your own layer, and with peft and transformers' `Trainer`;
# - *merge* the correction into the weights, and *prove* that nothing changed;
# - *judge* LoRA against a linear probe and full fine-tuning, by accuracy, time, memory and disk;
# - *find* a defect of a widely copied configuration that raises no error.
#
# **You need** PyTorch's basics and lab 01; it helps to know what queries, keys and values are. **It takes** 60 to 90
# minutes, of which the computer takes about two on a laptop's CPU (with the `gpu` profile, CIFAR-10 and a published
# ViT-S, about ten). The tables over seeds were computed for you; each names its command.
#
# **Predict.** LoRA will train less than a twentieth of the parameters. By how many points of test accuracy will it stay
# behind full fine-tuning? Write your guess into the next cell; the lab comes back to it.
#
# ## 1 · The task and the network
# A few labelled images of each class, in look-alike families: within a family, species differ in two small parts. The
# network is a vision transformer that was pretrained on *other* species. It cuts an image into patches, turns each
# into a vector of width $D$, and passes these tokens through blocks of attention and MLP.

# %%
my_guess = 1.0  # points of test accuracy that LoRA loses to full fine-tuning: put your own number here
birds = data.load(seed=0, **p.data)
test = birds.test.few(p.test_per_class)  # for the live numbers; the tables use all test images
print(birds.describe())

pick = torch.cat([(birds.train.labels == c).nonzero()[:4, 0] for c in range(4)])
titles = [birds.classes[label].replace(" ", "\n") for label in birds.train.labels[pick]]
show(
    views.plot_images(birds.train.images[pick], titles, columns=8, size=1.15),
    "Four images each of four classes: the same kind of bird with small differences in two parts",
)

# %%
folder = models.pretrained(profile.lora_backbone)  # checked files on this machine
seed_everything(0)
pretrained = AutoModelForImageClassification.from_pretrained(
    folder, num_labels=birds.num_classes, ignore_mismatched_sizes=True, dtype=torch.float32
)
vit = lora.from_transformers(pretrained).to(device)  # the same network as a classifier of labkit
block = vit.net.blocks[0]
print(f"{len(vit.net.blocks)} blocks; the first one's attention:", block.attn.qkv)
before = engine.evaluate(vit, test).accuracy
print(f"with its new last layer, before any training: {before:.1%}; chance is {1 / birds.num_classes:.1%}")

# %% [markdown]
# `ignore_mismatched_sizes=True` is needed because the last layer was made for other classes: it is replaced by a new,
# random one, called `head` in timm's networks. That is why the network can do no better than chance (one random head is
# often a little above or below). In each block one linear layer,
# `qkv`, makes queries, keys and values at once, from $D$ numbers to $3D$.
#
# ## 2 · A correction of low rank
# **Why.** Fine-tuning changes a weight matrix $W$ into $W + \Delta W$. $\Delta W$ has as many entries as $W$, but need
# not be as rich: few directions of the input may matter for your task, and few directions of the output may have to
# change. A matrix that reads only $r$ directions and writes only $r$ directions has rank $r$ and factors into two thin
# ones.
#
# **Formula.** With a frozen weight $W$ $(d_{out}, d_{in})$ and bias $b$, trainable $A$ $(r, d_{in})$ and $B$
# $(d_{out}, r)$, a rank $r$ and a constant $\alpha$, for a token $x$ $(d_{in})$:
#
# $$ y = W x + b + \frac{\alpha}{r}\, B A x \tag{1} $$
#
# $A$ starts random (Kaiming-uniform: within $\pm 1/\sqrt{d_{in}}$), $B$ starts at **zero**: at first $y$ is exactly
# what the pretrained layer says. $\alpha / r$ keeps the size of the correction about the same when you change $r$, so
# that the learning rate can stay. Trainable numbers per layer:
#
# $$ r\,(d_{in} + d_{out}) \quad\text{instead of}\quad d_{in}\, d_{out} \tag{2} $$
#
# **By hand.** $d_{in} = 3$, $d_{out} = 2$, $r = 1$, $\alpha = 2$:
#
# | $x$ | $A$ | $A x$ | $B$ | $B A x$ | times $\alpha/r$ | $W x + b$ | $y$ |
# |---|---|---|---|---|---|---|---|
# | (1, 2, 3) | (1, 0, 1) | 4 | (2, 0) | (8, 0) | (16, 0) | (1, 1) | (17, 1) |
#
# The second output cannot be changed by this $B$, whatever $x$ is: one direction is written. In code a batch holds
# tokens as *rows*, shape $(\dots, d_{in})$, so the correction reads `x @ A.T @ B.T`.


# %% exercise="09-lora-layer" look="section 2, formula (1)"
class LoRALinear(nn.Module):
    """A frozen nn.Linear plus a trainable correction of low rank, formula (1).

    base: the pretrained layer, d_in -> d_out; it stays, and must not be trained.
    rank, alpha: r and alpha. Makes the parameters A (r, d_in) and B (d_out, r).
    nn.init.kaiming_uniform_(tensor, a=math.sqrt(5)) fills a tensor as A should start.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.rank, self.alpha = base, rank, alpha
        # BEGIN SOLUTION
        base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(rank, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        # END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., d_in), tokens as rows. Returns (..., d_out)."""
        # BEGIN SOLUTION
        return self.base(x) + self.alpha / self.rank * (x @ self.A.T @ self.B.T)
        # END SOLUTION


# %% check="09-lora-layer"
check("09-lora-layer", LoRALinear)

# %% answer="09-lora-layer"
LoRALinear = answer("09-lora-layer", LoRALinear)

# %%
# A frozen layer must change by a matrix of rank 4. How near do your adapters of different ranks come to it?
seed_everything(0)
base, x = nn.Linear(32, 32), torch.randn(512, 32)
change = torch.randn(32, 4) @ torch.randn(4, 32) / 12
target = (base(x) + x @ change.T).detach()


def errors(rank, steps=300):
    layer = LoRALinear(base, rank, alpha=rank)
    optimizer = torch.optim.Adam([layer.A, layer.B], lr=0.02)
    for _ in range(steps):
        loss = F.mse_loss(layer(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


steps = [1, 2, 5, 10, 20, 50, 100, 200, 300]
curves = {f"r = {rank}": list(errors(rank)) for rank in (1, 3, 4)}
curves = {name: [losses[step - 1] for step in steps] for name, losses in curves.items()}
fig = views.plot_lines(steps, curves, xlabel="step", ylabel="mean squared error")
fig.axes[0].set_title("A change of rank 4 needs r = 4; less leaves an error that no training removes")
fig.axes[0].set_ylim(1e-6, 3)
show(
    fig,
    "Three falling curves: ranks 1 and 3 level off, rank 3 at a lower error; rank 4 falls to nearly nothing",
)

# %% [markdown]
# **See:** below the rank of the change, each curve levels off. Whether a *task* needs a low rank or a high one can't
# be known beforehand; section 9 tries it.
#
# **Why zero for $B$ and not for both?** By the chain rule the gradient of $A$ contains $B$ and that of $B$ contains
# $A$. With both at zero, neither would ever move; with both random, the network would be damaged before the first
# step.
#
# ## 3 · Adapters in every block
# **Why.** Attention decides which parts of the picture are compared with which; that is where the paper puts its
# adapters, and where a look-alike bird is told by a small part. So each block's `qkv` gets one. (The paper adapts
# queries and values, each with its own $A$. Here the three are one layer, so they share $A$, and the keys are adapted
# too.) The rest of the network stays as it is, apart from the last layer, which is new and has to be trained.
#
# **Rules.** Order matters: *freeze everything, then add adapters* (they are new parameters, trainable by default),
# *then let the head train*. Freeze last, and nothing trains.
#
# **By hand.** A network of two blocks; what trains afterwards: `blocks.0.attn.qkv.A`, `blocks.0.attn.qkv.B`,
# `blocks.1.attn.qkv.A`, `blocks.1.attn.qkv.B`, `head.weight`, `head.bias`. Nothing else.


# %% exercise="09-add-adapters" look="section 3, rules"
def add_adapters(net: nn.Module, rank: int, alpha: float) -> nn.Module:
    """Adapt a timm ViT in place, and return it.

    net: has .blocks; each block has .attn.qkv, an nn.Linear; and .head, the new last layer.
    Wrap every block's qkv in a LoRALinear; what trains afterwards are their A and B, and the head.
    """
    # BEGIN SOLUTION
    net.requires_grad_(False)
    for block in net.blocks:
        block.attn.qkv = LoRALinear(block.attn.qkv, rank, alpha)
    net.head.requires_grad_(True)
    return net
    # END SOLUTION


# %% check="09-add-adapters"
check("09-add-adapters", add_adapters)

# %% answer="09-add-adapters"
add_adapters = answer("09-add-adapters", add_adapters)

# %%
images = (birds.val.images[:32].float() / 255).to(device)
with torch.no_grad():
    vit.eval()
    pretrained_logits = vit(images).logits
    add_adapters(vit.net, p.rank, p.alpha)
    vit.to(device)
    difference = (vit(images).logits - pretrained_logits).abs().max().item()
print(f"largest change of a logit by adding adapters, before training: {difference:.1e}")
assert difference < 1e-5, "at its start an adapter changes nothing"

# %% [markdown]
# ## 4 · What trains
# **Why.** "Parameter-efficient" is a ratio, and ratios are easily wrong. Count: trainable numbers, all numbers, and
# the share. A shared tensor counts once, and buffers (such as BatchNorm's statistics) are no parameters.
#
# **By hand.** `Linear(2, 3)` frozen, $2 \cdot 3 + 3 = 9$ numbers; `Linear(3, 1)` trainable, $3 + 1 = 4$: the answer is
# $(4, 13, 0.308)$. And (2) for one `qkv` of width 128 at $r = 16$: $16 \cdot (128 + 384) = 8192$ instead of 49152.


# %% exercise="09-count" look="section 4"
def count_parameters(model: nn.Module) -> tuple[int, int, float]:
    """(trainable, all, trainable / all); model.parameters() yields every parameter once."""
    # BEGIN SOLUTION
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return trainable, total, trainable / total
    # END SOLUTION


# %% check="09-count"
check("09-count", count_parameters)

# %% answer="09-count"
count_parameters = answer("09-count", count_parameters)

# %%
for name, model in {"before": pretrained, "with adapters": vit}.items():
    trainable, total, share = count_parameters(model)
    print(f"{name:>13}: {trainable:>9,} of {total:>9,} parameters train, {share:.1%}")

parts = {"input": "", "attention": ".attn", "MLP, norms": ".mlp .norm", "head": ".head"}
sizes = {"frozen": [0] * len(parts), "trainable": [0] * len(parts)}
for name, parameter in vit.net.named_parameters():
    found = [i for i, words in enumerate(parts.values()) if any(w in f".{name}" for w in words.split())]
    sizes["trainable" if parameter.requires_grad else "frozen"][max(found, default=0)] += parameter.numel()
thousands = {kind: [n / 1000 for n in counts] for kind, counts in sizes.items()}
fig = views.plot_bars(thousands, list(parts), ylabel="parameters, thousands")
fig.suptitle(f"{share:.1%} of the parameters train", fontsize=11)
for axis in fig.axes:
    axis.tick_params(axis="x", rotation=20)
show(fig, "Bars of parameter counts by part: the frozen ones are tall, the trainable ones hardly visible")

# %% [markdown]
# **See:** on one scale the trainable part is hard to see. All of it sits in the attention's adapters and the head.
#
# ## 5 · Train them
# **Why.** The loop is the one that you know. What is new is one line: the optimizer must get *what trains*, found by
# `requires_grad`, **after** the adapters were added. An optimizer that was made before holds none of them, and
# training goes on without a word, moving the head alone.
#
# **Rules.** Collect the parameters that train; Adam over them; the model in train mode; then forward, cross-entropy,
# `zero_grad`, `backward`, `step`; keep the loss as a number.
#
# **By hand.** A weight of 0.30 with gradient 4 and one of 0.30 with gradient 0.04: at a rate of 0.01 Adam's first step
# divides each gradient by its own size, so both weights become 0.29. A frozen weight isn't in its list, and stays.


# %% exercise="09-train-adapters" look="section 5, rules"
def train_adapters(model: nn.Module, pairs, lr: float) -> list[float]:
    """One pass of Adam over `pairs` of (images (B, 3, H, W), labels (B,)); returns the losses.

    model(images).logits are (B, N). Only parameters with requires_grad are trained; don't change which.
    """
    # BEGIN SOLUTION
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=lr)
    model.train()
    losses = []
    for images, labels in pairs:
        loss = F.cross_entropy(model(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    # END SOLUTION


# %% check="09-train-adapters"
check("09-train-adapters", train_adapters)

# %% answer="09-train-adapters"
train_adapters = answer("09-train-adapters", train_adapters)

# %%
lora.eager_attention(vit)  # the same numbers, and faster to train on a CPU
batches = stream(birds.train, p.training["batch_size"], p.hand_steps, augment=birds.augment, device=device)
losses = train_adapters(vit, ((b.image, b.label) for b in batches), p.lr["lora"])
by_hand = engine.evaluate(vit, test).accuracy
print(f"test accuracy before {before:.1%}, after {p.hand_steps} steps of your own loop {by_hand:.1%}")
assert by_hand > before + 0.05, "after these steps the network should know something"
fig = views.plot_losses({"your loop": losses}, window=5)
fig.axes[0].set_title("The loss falls, though all pretrained weights stand still")
fig.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
show(fig, "A falling loss curve")

# %% [markdown]
# **See:** a few steps, and the network is far from chance. These were few; section 8 trains for longer.
#
# ## 6 · Merge
# **Why.** The detour through $A$ and $B$ costs time at every inference. But two matrices that are applied to the same
# $x$ and added are *one* matrix:
#
# $$ W' = W + \frac{\alpha}{r}\, B A, \qquad y = W' x + b \tag{3} $$
#
# So an adapter can be folded into the weight when training is over. The network then is the plain one again: as fast,
# as large, and usable wherever it was usable (as a teacher for distillation, for example, without a dropout left on by
# accident).
#
# **By hand.** $W = \begin{pmatrix}1&0\\0&1\end{pmatrix}$, $B = \begin{pmatrix}2\\0\end{pmatrix}$,
# $A = \begin{pmatrix}1&3\end{pmatrix}$, $\alpha/r = 0.5$: $BA = \begin{pmatrix}2&6\\0&0\end{pmatrix}$, hence
# $W' = \begin{pmatrix}2&3\\0&1\end{pmatrix}$.
#
# **Rules.** Write into a *new* layer. Who adds to $W$ in place and keeps the adapter applies the correction twice, and
# who merges again, three times. Merge in float32: in half precision digits get lost.


# %% exercise="09-merge" look="section 6, formula (3)"
def merge(layer: LoRALinear) -> nn.Linear:
    """A plain Linear that gives what `layer` gives; `layer` itself is left unchanged.

    layer has .base (an nn.Linear, with or without bias), .A, .B, .rank and .alpha.
    """
    # BEGIN SOLUTION
    base = layer.base
    merged = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
    with torch.no_grad():
        merged.weight.copy_(base.weight + layer.alpha / layer.rank * layer.B @ layer.A)
        if base.bias is not None:
            merged.bias.copy_(base.bias)
    return merged
    # END SOLUTION


# %% check="09-merge"
check("09-merge", merge)

# %% answer="09-merge"
merge = answer("09-merge", merge)

# %%
shape = (1, 3, birds.image_size, birds.image_size)
work = {"with adapters": models.cost(vit, shape)}
with torch.no_grad():
    vit.eval()
    adapted_logits = vit(images).logits
    for block in vit.net.blocks:
        block.attn.qkv = merge(block.attn.qkv).to(device)
    difference = (vit(images).logits - adapted_logits).abs().max().item()
print(f"largest difference of a logit, merged minus unmerged: {difference:.1e}")
assert difference < 1e-4, "merging changes the network's form, not what it computes"
work["merged"] = models.cost(vit, shape)
for name, spent in work.items():
    print(f"{name:>13}: {spent.macs / 1e6:.2f} million multiply-accumulates, {spent.parameters:,} parameters")

# %% [markdown]
# **See:** the numbers that come out are the same; the detour is gone. It was little arithmetic, but four more calls in
# each block (two products, a factor, a sum), and for a single image calls take time too (lab 02).
#
# ## 7 · The same with peft and transformers
# In practice you would not write the layer yourself. **peft** puts adapters into any network by the *names* of its
# layers, and transformers' `Trainer` trains it. `target_modules=["qkv"]` is your `add_adapters`; `lora_dropout` drops
# parts of the adapters' input in training; `bias="none"` leaves the biases frozen; `modules_to_save=["head"]` names
# what is trained in full and stored beside the adapters. The next cell ends in an assertion, because no error message
# will ever tell you what it asks; section 10 shows why. (peft keeps the untrained head too, so *all* is a little more
# than yours.)
#
# **Which data for what.** The best epoch has to be chosen on something. `load_best_model_at_end=True` takes the epoch
# that was best on `eval_dataset`: give it **validation** images. A widely used lab sheet gives it the test images and
# then reports the accuracy on them, which is optimistic by construction.

# %%
config = LoraConfig(
    r=p.rank, lora_alpha=p.alpha, target_modules=p.targets, lora_dropout=p.dropout, bias="none",
    modules_to_save=["head"],
)  # fmt: skip
seed_everything(0)
adapted = get_peft_model(lora.eager_attention(pretrained), config)
trainable, total, share = count_parameters(adapted)
print(f"{trainable:,} of {total:,} parameters train, {share:.1%}")
assert any(".head." in name and q.requires_grad for name, q in adapted.named_parameters())


# %%
def hits(predictions):
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(), **p.trainer, per_device_eval_batch_size=128, seed=0, label_names=["labels"],
    eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="accuracy",
    report_to="none", disable_tqdm=True, dataloader_pin_memory=torch.cuda.is_available(),
)  # fmt: skip
train_set, val_set = (lab09.for_trainer(split, pretrained) for split in (birds.train, birds.val))
trainer = Trainer(adapted, arguments, train_dataset=train_set, eval_dataset=val_set, compute_metrics=hits)
trained = lab09.silent(trainer).train()
adapted.save_pretrained(Path(arguments.output_dir) / "adapter")
file = Path(arguments.output_dir) / "adapter" / "adapter_model.safetensors"
print(
    f"{trained.metrics['train_runtime']:.0f} s; the file with adapters and head: {file.stat().st_size / 1e6:.2f} MB"
)

# %%
history = [row["eval_accuracy"] for row in trainer.state.log_history if "eval_accuracy" in row]
print("validation accuracy after each epoch:", ", ".join(f"{accuracy:.1%}" for accuracy in history))
merged = adapted.eval().merge_and_unload(safe_merge=True)  # formula (3), by peft
after = engine.evaluate(lora.from_transformers(merged).to(device), test).accuracy
print(f"test accuracy before {before:.1%}, after {after:.1%}")
assert after > before + 0.1, "see the learning rate, and whether the head trains"

# %% [markdown]
# **See:** the same three steps as by hand: freeze and add, train what trains, merge. From here on labkit does them:
# `lora.add_lora`, `engine.fit`, `lora.merge`, with peft's layers inside and with the augmentation, the checkpoints
# and the best epoch of all other labs.
#
# ## 8 · The experiment
# Three methods on one pretrained network, with the same images, augmentation and number of steps:
# - the **linear probe** trains the head alone;
# - **LoRA** trains the head and a correction to each `qkv`;
# - **full fine-tuning** trains everything.
#
# The new head learns at the same rate in all three, the one that was best for the probe; what trains below the head has
# its own rate, the best of the same number of rates on validation images, with a seed that is not reported. (A common
# mistake is to give LoRA the rate of full fine-tuning, which is far too low for it.) A seed draws the head, the
# adapters, the order and the augmentation. The **gain** is the accuracy minus the linear probe's: what adapting the
# features adds to training a new last layer.

# %% tags=["nbval-check-output"]
words = {"probe": "linear probe", "lora": f"LoRA, r = {p.rank}", "full": "full fine-tuning"}
accuracies = {m: results.values(**main, method=m) for m in words}
rows = [["before training", results.interval(**main, method="before"), "", ""]]
for m, name in words.items():
    gain = paired(accuracies[m], accuracies["probe"]) if m != "probe" else ""
    minus = paired(accuracies[m], accuracies["full"]) if m != "full" else ""
    rows.append([name, interval(accuracies[m]), gain, minus])
reached = lab09.share_of_gain(lambda m: interval(accuracies[m]).mean)
columns = ["", "test accuracy, %", "gain over the probe", "minus full fine-tuning"]
note = f"Mean ± 95 % interval over {n} seeds, differences paired by seed: {results.command}"
print(Table(columns, rows, note=note))
print(f"LoRA's mean gain is {reached:.0%} of full fine-tuning's: a ratio of two small numbers.")
fig = views.plot_seeds({name: accuracies[m] for m, name in words.items()})
fig.axes[0].set_title("LoRA and full fine-tuning overlap; the probe is a little behind")
fig.axes[0].xaxis.set_major_formatter(PercentFormatter(1.0, 1))
show(fig, "Points of test accuracy by seed for the linear probe, LoRA and full fine-tuning")

# %% [markdown]
# **See:** the probe is a strong baseline here, because the network was pretrained on birds, if on others. So the gain is
# small, and a share of it may well exceed 100 % and says little. Trust the paired differences. Where the interval of the
# last column contains zero, LoRA and full fine-tuning can't be told apart with these seeds. With few labels that is
# plausible (a million free parameters have much to unlearn and little to learn it from), but nothing here tests it. A
# task further from the pre-training, other scenes or other sensors, would leave more to gain, and show more of the
# methods' differences.
#
# And what each of them costs: time of the processor for a training step, and the memory that the step needs beside
# the weights.

# %% tags=["nbval-check-output"]
rows = []
for m, name in words.items():
    row, trains = costs[m], costs[m]["memory"]["gradients"] // 4  # float32: 4 bytes each
    state = (row["memory"]["gradients"] + row["memory"]["optimizer"]) / 1e6
    kept = f"{row['memory']['activations'] / 1e6:.0f}"
    rows.append([name, f"{trains:,}", f"{row['ms']:.0f}", f"{state:.1f}", kept, f"{row['disk'] / 1e6:.2f}"])
columns = ["", "trained", "ms a step", "gradients + Adam, MB", "activations, MB", "stored per task, MB"]
note = f"Batch {p.training['batch_size']}, float32, one thread of {results.machine}"
print(Table(columns, rows, note=note))
share = costs["lora"]["memory"]["gradients"] / costs["full"]["memory"]["gradients"]
print(f"LoRA trains {share:.1%} as many parameters as full fine-tuning.")
memory = {words[m]: [v / 1e6 for v in costs[m]["memory"].values()] for m in words}
fig = views.plot_bars(memory, list(costs["full"]["memory"]), ylabel="MB in a training step")
for axis in fig.axes:
    axis.tick_params(axis="x", rotation=25)
show(
    fig, "Bars of memory by method: the activations are the tallest wherever gradients reach the first block"
)

# %% [markdown]
# **See:** LoRA shrinks what belongs to *trained parameters*: gradients, Adam's two running means, the file. Of the
# **activations** it saves a part only. A frozen linear layer need not keep its input; but to reach the first block's
# adapter the gradient passes through all blocks, and attention, norms and nonlinearities have to keep theirs. Time
# likewise: the frozen weights' own gradients need not be computed, but the way back through all blocks must be walked.
# In a network of billions of parameters the first kind of memory dominates; in this one, with a batch of images, the
# second does. Only the probe, whose gradient stops at the last layer, is cheap in both.
#
# Once live, for fewer steps, through labkit's `fit`. Its single seed has less training than the table's.

# %%
live = lab09.adapted(profile, "lora", birds.num_classes, seed=0)
print(lora.trainable_share(live))
run = lab09.train(profile, live, birds, seed=0, lr=p.lr["lora"], **p.live)
plain = lora.merge(run.model)
print(f"test accuracy {engine.evaluate(plain, test).accuracy:.1%} after {len(run.losses)} steps")
with torch.no_grad():
    images = images.to(next(plain.parameters()).device)
    difference = (plain(images).logits - run.model(images).logits).abs().max().item()
assert difference < 1e-4
assert run.accuracy > before + 0.1

# %% [markdown]
# ## 9 · Break it: the rank and the scale
# The rank from 1 up, at a fixed $\alpha / r$, with the probe (in a sense $r = 0$) and full fine-tuning as lines.

# %% tags=["nbval-check-output"]
by_rank = results.sweep("rank")
ranks = [f"r = {rank:g}" for rank in by_rank.values]
print(by_rank.table("rank", ranks, note=results.command))

lines = {words[m]: interval(accuracies[m]) for m in ("probe", "full")}
fig = views.plot_sweep(
    by_rank.values, *zip(*by_rank.intervals, strict=True), xlabel="rank r", lines=lines, log=True
)
fig.axes[0].set_title("From rank 1 to 32 the accuracy hardly moves")
show(fig, "Test accuracy against the rank, logarithmic, between the lines of the probe and full fine-tuning")

# %% [markdown]
# **See:** the curve is flat: over all these ranks the mean moves by less than the interval of a single point. The seeds
# are shared, so compare neighbours by the last column: where its interval contains zero, their order is noise. And
# among five comparisons of three seeds each, one that misses zero by a little is no discovery: ask whether the next
# doubling goes on in the same direction.
#
# Now the scale. The sweep held $\alpha / r$ fixed. Move it to both ends, for a few steps each: what does formula (1)
# say happens to the network, and which end fails visibly?

# %%
for scale in (0.001, 1.0, 100.0):
    extreme = lab09.adapted(profile, "lora", birds.num_classes, seed=0, scale=scale)
    short = lab09.train(profile, extreme, birds, seed=0, lr=p.lr["lora"], **{"warmup": 0.0, **p.broken})
    layers = [block.attn.qkv for block in short.model.net.blocks]  # peft's: W is in base_layer
    moved = max(q.get_delta_weight("default").norm() / q.base_layer.weight.norm() for q in layers)
    print(f"alpha / r = {scale:g}: loss {short.losses[0]:.2f} -> {short.losses[-1]:.2f}", end=", ")
    print(f"validation accuracy {short.accuracy:.1%}, largest |correction| / |W| {moved:.1e}")

# %% [markdown]
# **See:** the accuracies of the first two rows look alike, and that is the trap: in so few steps the new head does nearly
# all the work, and only the last column tells that at the tiny scale the adapters do nothing and you are training a
# linear probe. A huge scale multiplies what each step of $B$ does and throws the features away: that end you notice.
# Scale and learning rate act on the same thing: never tune one without the other.
#
# ## 10 · Find the bug
# This configuration is copied from notebook to notebook. It is right for the ViT classes of transformers. Here it
# raises no error and no warning, the loss falls, and the accuracy looks plausible. One argument is wrong for *this*
# network. Find it and mend it; the check looks at what trains and at what would be saved.


# %% exercise="09-bug" look="what section 7 asserted"
def adapt(model):
    """LoRA on the attention of a timm ViT in transformers' wrapper, with a new head that trains.

    The head must also be in the adapter's file that model.save_pretrained writes.
    """
    # BEGIN SOLUTION
    config = LoraConfig(
        r=4, lora_alpha=4, target_modules=["qkv"], lora_dropout=0.1, bias="none", modules_to_save=["head"]
    )
    return get_peft_model(model, config)
    # END SOLUTION
    # BEGIN PROMPT
    # config = LoraConfig(
    #     r=4, lora_alpha=4, target_modules=["qkv"], lora_dropout=0.1, bias="none", modules_to_save=["classifier"]
    # )
    # return get_peft_model(model, config)
    # END PROMPT


# %% check="09-bug"
check("09-bug", adapt)

# %% tags=["nbval-check-output"]
# What the bug costs. With a head that is random and stays so, the adapters bend the features towards *it*, which is
# why the loss still falls and nobody notices.
frozen = results.values(experiment="frozen head", method="lora")
right = accuracies["lora"][: len(frozen)]  # the same seeds
rows = [
    ["the head trains", interval(right), ""],
    ["the head is frozen", interval(frozen), paired(frozen, right)],
]
columns = [f"LoRA, r = {p.rank}", "test accuracy, %", "difference, paired"]
print(Table(columns, rows, note=f"{len(frozen)} seeds: {results.command}"))

# %%
# Back to your guess.
gap = paired(accuracies["lora"], accuracies["full"])
print(f"you guessed {my_guess:.1f} points behind; over {n} seeds LoRA minus full fine-tuning is {gap}")

# %% [markdown] question="09-q-memory" points=2
# **Question 1.** A colleague runs out of GPU memory while fine-tuning a small network with a large batch, and hopes
# that LoRA will help. Use section 8's table to say what will shrink, what will not, and why. Name one measure that
# would shrink the rest.

# %% [markdown] rubric="09-q-memory"
# **Model answer.** Gradients and Adam's running means exist for trained parameters only: they shrink with the share
# that trains. Activations shrink by a part only: the backward pass must go through all frozen layers down to the first
# adapter (of a frozen linear layer the weight will do, but norms, attention and nonlinearities still need theirs). With a
# small network and a large batch the activations dominate, so LoRA helps little. What shrinks them: a smaller batch with gradient accumulation, recomputation (checkpointing), lower precision, adapters in the last
# blocks only, or a probe on stored features.
#
# **Rubric.** 1 point: gradients and optimizer state shrink, most of the activations stay, with the reason (the gradient passes
# through to the first adapter). 1 point: a measure that acts on activations.

# %% [markdown] question="09-q-when-not" points=4
# **Question 2.** (a) You serve fifty tasks from one server. When do you merge the adapters, when do you keep them apart?
# Give the cost of each choice in disk or memory and in time for an image. (b) When should you *not* use LoRA? Name two
# situations of different kinds, and for each the measurement that would tell you.

# %% [markdown] rubric="09-q-when-not"
# **Model answer.** (a) Merged: fifty full copies of the network, each as fast as the plain one; right if few tasks get
# nearly all requests, or if an adapter's detour in every block can't be afforded. Apart: one network and fifty small
# files, tasks are switched in no time and requests of different tasks can share a batch through the frozen weights; each
# image pays for the detour. Adding a merged task's update to the weights and subtracting it again saves memory but loses
# digits, above all in half precision.
#
# (b) For instance: the probe is already as good (measure it first; if its paired difference to full
# fine-tuning is within the noise, nothing is left to adapt); the new images are so different that features must
# change everywhere (accuracy keeps rising with the rank, and full fine-tuning is clearly above the largest one); one
# task, enough memory, enough labels: full fine-tuning costs one file and is the simpler thing (compare both, each with
# its own learning rate); networks whose statistics must adapt, such as BatchNorm's, which adapters don't touch
# (compare with training norms and biases).
#
# **Rubric.** (a) 1 point: merged means a full copy per task, no extra time. 1 point: apart means small files and sharing,
# with extra time per image. (b) 1 point each for a situation with a measurement that reveals it; "when accuracy matters"
# alone is none.

# %% [markdown]
# ## What you should have seen
# - A correction of rank $r$ costs $r(d_{in} + d_{out})$ numbers, starts at zero, and can be folded into the weight so
#   that nobody sees that it was ever there: the logits agree to $10^{-5}$.
# - How much of full fine-tuning's gain the adapters reach with how small a share of its parameters: read it off section
#   8, with the interval. Where the paired difference to full fine-tuning contains zero, the two can't be told apart.
# - LoRA saves nearly all of the gradients, optimizer state and disk, but only a part of the time and the activations.
# - Names that match nothing raise no error. Assert what trains.
#
# ## What the paper reports
# Hu et al. (2021), table 4: GPT-3 with 175 billion parameters, validation accuracy in per cent (ROUGE-L for SAMSum).
#
# | method | trained parameters, millions | WikiSQL | MNLI-m | SAMSum |
# |---|---|---|---|---|
# | full fine-tuning | 175 255.8 | 73.8 | 89.5 | 44.5 |
# | LoRA | 4.7 | 73.4 | 91.7 | 45.9 |
# | LoRA | 37.7 | 74.0 | 91.6 | 45.1 |
#
# Caveats: language, not images, and a network a hundred thousand times larger than yours, so that the correction is a
# far smaller share; few runs (the authors state a spread of about ±0.5 points on WikiSQL and ±0.1 on MNLI). That a rank of 1 or 2 is nearly enough (their
# section 7.2) is a finding about their tasks; section 9 asked it of yours.
#
# ## Read on
# - Hu et al., *LoRA: low-rank adaptation of large language models*, arXiv 2106.09685: the source; section 7 on ranks.
# - Aghajanyan et al., *Intrinsic dimensionality explains the effectiveness of language model fine-tuning*, arXiv
#   2012.13255: why so few numbers can be enough.
# - Kalajdzievski, *A rank stabilization scaling factor for fine-tuning with LoRA*, arXiv 2312.03732: $\alpha/\sqrt r$.
# - Biderman et al., *LoRA learns less and forgets less*, arXiv 2405.09673: where full fine-tuning stays ahead, and what
#   it forgets.
# - Dettmers et al., *QLoRA*, arXiv 2305.14314: adapters on weights of four bits.
