# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 03 · Distilling a classifier
#
# Birds that differ in the colour of a cap. A large network that has seen two hundred other species tells them
# apart after five labelled photographs of each; a small one that starts from nothing does not. (Is that its size,
# or where it started? Section 5 asks.) Look at what it confuses.

# %% tags=["setup"]
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import Tensor, nn

import labkit
from labkit import answer, check, engine, losses, methods, models, views
from labkit.bench import (
    interval,
    lab01,
    lab03_live,
    lab03_tables,
    lab03_targets,
    lab03_theory,
    pair,
    paired,
    read_results,
)
from labkit.bench.adapt import adapt
from labkit.data import Batch, stream
from labkit.rng import seed_everything
from labkit.views import Table, show
from labkit.views import mistakes as figures

p = labkit.profile().lab(3)
torch.set_num_threads(p.threads)
device = "cuda" if torch.cuda.is_available() else "cpu"
results, table = read_results("lab03"), read_results("aviary")

# %%
# Test images of the bench: the teacher is right, the small network (same labels, no teacher) is not.
(row,) = results.select(experiment="examples")
aviary = labkit.data.load("aviary")
shown = [(e["image"], e["label"], e["student"]) for e in row["examples"]]
photos = aviary.test.fetch([image for image, _, _ in shown])
taken_for = aviary.test.fetch([int((aviary.test.labels == c).nonzero()[0]) for _, _, c in shown])
names = [(aviary.classes[label], aviary.classes[student]) for _, label, student in shown]
show(
    figures.plot_lookalikes(photos, names, taken_for),
    "Six photographs of birds above six of the species that the small network takes them for: look-alikes",
)

# %% [markdown]
# Each mistake is one small part of a bird: a bill, a cap, a wing bar. Five one-hot labels do not tell the
# small network where to look. The large one, asked about the same photographs, could say *this species, and a
# little like that one*.
#
# **You will be able to**
# - *adapt* a pretrained network into a teacher, and *verify* that it is one before you use it;
# - *implement* the distillation step and a training loop that chooses its epoch honestly;
# - *measure* not only how many mistakes a classifier makes but how bad they are;
# - *explain* what soft targets carry, with an experiment and with the theorems that really say something;
# - *judge* when a larger teacher, an assistant, or no teacher at all is the better choice.
#
# **You need** lab 01 (temperature, distillation loss) and the training loop you know. **It takes** 60 to 90
# minutes; the computing takes about two minutes on a laptop's CPU and up to twenty with the `gpu` profile
# (CIFAR-10 at 224 pixels, ResNet-50 to ResNet-18; the tables remain those of the birds). The runs over many
# seeds were computed for you; each table names the command that repeats them.
#
# ## 1 · First of all, a teacher
# **Predict.** A teacher's probabilities say which wrong classes an image resembles. Suppose we shuffle them,
# per image, among all the wrong classes. The teacher still names the same class, equally sure. By how many
# points will the distilled student's test accuracy *fall*? Write your guess down; we come back to it in
# section 7.

# %%
my_guess = 5.0  # points of test accuracy: put your own number here
birds = pair.few(p, p.per_class, seed=0)  # few labels; all validation and test images
family_of = engine.families(birds.classes, p.families)  # (N,), the family of each class
seed_everything(0)
teacher = models.build(num_classes=birds.num_classes, **p.teacher).to(device)
peek = birds.test.few(p.peek, seed=0)  # a part of the test images, for a quick look
print(birds.describe())
print(f"{family_of.max() + 1} families of look-alikes; {len(peek)} test images for a quick look")
fresh, chance = engine.evaluate(teacher, peek).accuracy, 1 / birds.num_classes
print(f"the pretrained '{teacher.name}' with a new head: {fresh:.1%}, chance is {chance:.1%}")

# %% [markdown]
# The network is pretrained, on other birds. Its old head spoke of other classes, so it got a **new head**: a
# random one. Its features may be excellent; what it *says* is noise. Two stages make a teacher of it:
#
# 1. **The head alone**, on features that are computed once: below the head nothing changes, so why ask it
#    again?
# 2. **Everything**, at a lower rate, with augmented images. Starting with this, under a random head, would
#    let noise flow back into good features (Kumar et al. 2022).
#
# The head is plain softmax regression: the features $h$, shape $(n, D)$, are constants, and $\mathrm{CE}(h
# W^{\top} + b, y)$ is minimised over $W$, shape $(N, D)$, and $b$.

# %%
# The head alone, on stored features; then both stages by labkit, with the best epoch by validation.
bank = engine.FeatureBank(teacher, birds.train, outputs=("embedding",), keep=False)
optimizer = torch.optim.Adam(teacher.head.parameters(), lr=p.teacher_training["head_lr"])
features, labels = bank.features().to(device), bank.labels.to(device)
for _ in range(p.head_steps):
    loss = F.cross_entropy(teacher.head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"the head alone, {p.head_steps} steps: {engine.evaluate(teacher, peek).accuracy:.1%}")

seed_everything(0)
teacher = models.build(num_classes=birds.num_classes, **p.teacher)
teacher = adapt(teacher, birds, seed=0, **p.teacher_training).model
teacher_test = engine.evaluate(teacher, birds.test)
print(f"both stages, on all test images: {teacher_test}")
assert teacher_test.accuracy > 3 * chance, "a teacher near chance teaches noise"

# %% [markdown]
# **See:** from guessing to a teacher, and most of the way with the head alone. Print this number *before* you
# distil, every time: a student can hide a bad teacher, because it also has the labels.
#
# ## 2 · Freeze it
# **Why.** From now on the teacher is a measuring instrument. Two things could change it behind your back. Its
# *weights*, if an optimiser got hold of them. And its *behaviour*: in train mode BatchNorm measures the batch
# it is given and keeps the statistics, and dropout rolls dice.
#
# **Rules.** Eval mode, for the network and all modules in it; no parameter asks for a gradient. One does not
# imply the other: `eval()` leaves the weights trainable, and `requires_grad_(False)` leaves BatchNorm at
# work.


# %% exercise="03-freeze-teacher" look="section 2, rules"
def freeze_teacher(network: nn.Module) -> nn.Module:
    """Take a trained network out of training for good: its mode and its parameters. Returns the network."""
    # BEGIN SOLUTION
    network.eval()
    network.requires_grad_(False)
    return network
    # END SOLUTION


# %% check="03-freeze-teacher"
check("03-freeze-teacher", freeze_teacher)

# %% answer="03-freeze-teacher"
freeze_teacher = answer("03-freeze-teacher", freeze_teacher)

# %%
# What the mode decides: the same eight images, alone and in the company of others.
teacher = freeze_teacher(teacher)
images = torch.stack([birds.val[i][0] for i in range(64)]).to(device)
before = {name: value.clone() for name, value in teacher.state_dict().items()}
for mode in ("eval", "train"):
    getattr(teacher, mode)()
    alone, together = (teacher(x).logits[:8].softmax(1) for x in (images[:8], images))
    print(f"{mode:>5} mode: probabilities differ by up to {(alone - together).abs().max():.3f}")
moved = sum(not torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
print(f"tensors that train mode has changed, without one optimiser step: {moved}")
teacher.load_state_dict(before)
teacher = freeze_teacher(teacher)

# %% [markdown]
# **See:** in train mode the teacher's opinion of a bird depends on which other birds are in the batch, and
# each batch leaves its mark.
#
# ## 3 · One step, with a teacher or without
# **Why.** To compare fairly, write one step that does both: the only difference between *distilled* and
# *alone* must be the loss.
#
# **Formula.** Student logits $z^s$ and teacher logits $z^t$, both $(B, N)$, labels $y$, shape $(B)$, hard
# weight $w$:
#
# $$ L = \mathrm{CE}(z^s, y) \ \text{ without a teacher}, \qquad
#    L = w \, \mathrm{CE}(z^s, y) + (1 - w) \, T^2 \, \mathrm{KL}\big( q^t_T \,\Vert\, q^s_T \big) \ \text{ with one.} \tag{1} $$
#
# The second term is your loss of lab 01; here it is `losses.hinton_kd(student_logits, teacher_logits,
# temperature)`.
#
# **Rules.** The student trains, the teacher is in eval mode and records no graph, and both see the *same*
# augmented images. (Each network of labkit normalises its own input, so teacher and student may expect
# different statistics.) The step also counts hits, on the logits it has anyway.
#
# **By hand.** $\mathrm{CE} = 1.5$, $T^2 \mathrm{KL} = 2.0$, $w = 0.1$: $L = 0.15 + 1.8 = 1.95$; without a
# teacher, $1.5$.


# %% exercise="03-distill-step" look="section 3, formula (1) and rules"
def distill_step(
    student: nn.Module,
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    temperature: float,
    hard_weight: float,
) -> tuple[float, int]:
    """One step on a batch: batch.image (B, C, H, W), batch.label (B,). network(images).logits is (B, N).

    teacher None: plain cross-entropy. Returns the loss as a number, and how many images of the batch the
    student's logits got right, before the update.
    """
    # BEGIN SOLUTION
    student.train()
    logits = student(batch.image).logits
    loss = F.cross_entropy(logits, batch.label)
    if teacher is not None:
        teacher.eval()
        with torch.no_grad():
            targets = teacher(batch.image).logits
        loss = hard_weight * loss + (1 - hard_weight) * losses.hinton_kd(logits, targets, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), (logits.argmax(1) == batch.label).sum().item()
    # END SOLUTION


# %% check="03-distill-step"
check("03-distill-step", distill_step)

# %% answer="03-distill-step"
distill_step = answer("03-distill-step", distill_step)

# %%
# Your step on handwritten digits, where a run takes seconds: one student with lab 01's teacher, one without.
d = labkit.profile().lab(1)
digits = labkit.data.load(d.data, seed=0, per_class=d.per_class)
digit_teacher, _ = lab01.teacher(labkit.profile(), 0)
digit_losses = {}
for name, guide in {"alone": None, "with a teacher": digit_teacher}.items():
    seed_everything(0)
    student = models.build(num_classes=digits.num_classes, **d.student).to(device)
    optimizer = torch.optim.Adam(student.parameters(), lr=d.training["lr"])
    images = stream(digits.train, d.training["batch_size"], 150, augment=digits.augment, device=device)
    digit_losses[name] = [distill_step(student, guide, optimizer, b, d.temperature, 0.5)[0] for b in images]
fig = views.plot_losses(digit_losses, window=15)
fig.axes[0].set_title("Both losses fall; at different heights, because they are different losses")
show(fig, "Two falling loss curves with their moving averages")

# %% [markdown]
# **See:** the labels alone are soon learned by heart, to a loss of zero. The teacher keeps asking for more:
# matching its probabilities is a harder task than naming fifty digits.
#
# ## 4 · The loop
# **Why.** A loop decides which weights you keep, and so what your numbers mean. Three sets, three jobs:
# *training* images make the gradient, *validation* images choose the epoch, *test* images are looked at and
# choose nothing. You will draw the test curve; if you also picked its peak, the number would be the luckiest
# of ten and no estimate.
#
# **Rules.** For every epoch: step through its batches; the training accuracy is all hits over all images
# (batches may differ in size); then measure validation and test. Remember the weights of the first epoch with
# the best validation accuracy, and load them at the end. `student.state_dict()` returns the *living* tensors,
# which the next step changes: keep a `copy.deepcopy` of it.
#
# **By hand.** Validation 0.40, 0.55, 0.55, 0.50: the second epoch's weights are kept, whatever the test curve
# did.


# %% exercise="03-train-loop" look="section 4, rules"
def train(student: nn.Module, epochs, step, measure) -> dict[str, list[float]]:
    """Train epoch by epoch; the student ends with its best weights on validation.

    epochs: one iterable of batches per epoch. step(batch) trains on len(batch.label) images: (loss, hits).
    measure(student, split) gives the accuracy on split "val" or "test".
    Returns {"train": [...], "val": [...], "test": [...]}, an accuracy per epoch each.
    """
    # BEGIN SOLUTION
    import copy

    curves, best, kept = {"train": [], "val": [], "test": []}, -1.0, None
    for epoch in epochs:
        hits = images = 0
        for batch in epoch:
            hits += step(batch)[1]
            images += len(batch.label)
        curves["train"].append(hits / images)
        for split in ("val", "test"):
            curves[split].append(measure(student, split))
        if curves["val"][-1] > best:
            best, kept = curves["val"][-1], copy.deepcopy(student.state_dict())
    student.load_state_dict(kept)
    return curves
    # END SOLUTION


# %% check="03-train-loop"
check("03-train-loop", train)

# %% answer="03-train-loop"
train = answer("03-train-loop", train)

# %%
# On the birds, with your step and your loop: a student from scratch, alone and distilled, each with the
# learning rate and weight decay that its own tuning chose. A round stands for an epoch.
students, curves = {}, {}
for name, method, guide in (("alone", "scratch", None), ("distilled", "hinton", teacher)):
    live = lab03_live.begin(p, method, birds, device)
    step = live.step_with(distill_step, guide, **p.options[method])
    students[name], curves[name] = live.student, train(live.student, live.rounds, step, live.measure)
fig = figures.plot_curves(curves, live.steps, f"accuracy (test: {len(peek)} images)")
fig.axes[0].set_title("At the end of training the student alone is still climbing")
show(fig, "Training and test accuracy of both students over the steps; the distilled one's are higher")
tests = {name: engine.evaluate(student, birds.test) for name, student in students.items()}
tests["teacher"] = teacher_test
display(lab03_tables.gap(tests))
assert tests["distilled"].accuracy > tests["alone"].accuracy - 0.02, "distillation should not hurt here"

# %% [markdown]
# **See:** solid lines are test, dashed ones training accuracy; the ring is the round that validation chose. After
# the same number of steps the student with a teacher is far ahead, and closes much of the gap between the student
# alone and the teacher (in the table, on all test images). But look at the ends of the curves: the student alone
# is still climbing when training stops. This compares at an equal and *short* budget; section 5 trains on. (With
# the `gpu` profile there are labels in plenty and three epochs: expect a small gap.)
#
# ## 5 · The gap over seeds, over time, and from another start
# **Why.** One run is only a glance. The bench has five seeds of it; three of them trained for three and nine times
# as long; and one control that could explain the gain away: a student that starts *where the teacher started*.
# For the teacher is not only large. It has seen two hundred other species, and labkit ships weights of the small
# network, too, that have.

# %% tags=["nbval-check-output"]
print(lab03_tables.methods(table, per_class=5))
names = {"hinton": "distilled", "label_smoothing": "label smoothing", "scratch": "alone",
         "hinton finetuned": "distilled, pretrained", "finetuned": "alone, pretrained"}  # fmt: skip
runs = {m: table.values(experiment="main", per_class=5, method=m) for m in ("teacher", *names)}
fig = views.plot_seeds(
    {name: runs[m] for m, name in names.items()}, {"teacher": interval(runs["teacher"]).mean}
)
fig.axes[0].set_title("Where a student starts matters more than who teaches it; a point is a seed", pad=18)
show(fig, "Test accuracy by seed of five students, and the teacher's mean as a line")
print(lab03_tables.lengths(results, table))
print()
print(lab03_tables.cifar(read_results("cifar10")))

# %% [markdown]
# Every seed draws the labels, the initialisation and the order. All methods share the student, the images and the
# number of steps, and got six configurations each on validation images of a seed that is not reported; most chosen
# settings lie at the upper end of what was tried. The labels are not quite five: ten more images a species choose
# epoch and settings, for every method alike. And the table's distilled students read the teacher's answers to 16
# stored views of each image; yours asked it anew at every step.
#
# **See:** three questions, three answers.
#
# - *Is it softness?* Label smoothing asks that, and stays near the student alone: no.
# - *Is it the start?* To a large part. The student with pretrained weights, fine-tuned on the same labels without
#   any teacher, passes the one that was distilled from nothing. Much of what this teacher passed on is what *it*
#   had learned from other birds. What distillation adds to a student that has seen them, too, is the last column:
#   little, though its interval excludes zero. Where your student has pretrained weights, fine-tune it first and
#   count distillation's gain from there. Where it has none, as a network of your own design, a teacher is the
#   way to hand it the past that it lacks.
# - *Is it haste?* In part. The second table: with more steps every student rises, the one alone most, and the gain
#   shrinks without going away. After nine times the steps the distilled student passes its teacher; the one with
#   pretrained weights does so alone, and sooner. (The teacher's own adaptation was short, too. ReviewKD matches
#   features, in lab 04.)
#
# **And where labels are plenty?** The last table: the same two students, from ten thousand images of CIFAR-10. After
# three epochs the teacher adds nothing that these seeds can show, after ten a few points. Here more time makes the
# gain larger, on the birds smaller: a gain without its number of labels and its length of training means little.
#
# ## 6 · Smarter mistakes
# **Why.** Accuracy counts all mistakes alike. To take a red-billed reedfinch for a black-billed one is a
# smaller mistake than to take it for a jay. The birds come in families of look-alikes; let us ask where
# mistakes go.
#
# **Formula.** $g(c)$ is the family of class $c$, $p$ the softmax of the logits, shape $(n, N)$, $\hat y_i$
# the predicted class. The look-alikes of $y$ are $F(y) = \{ c \ne y : g(c) = g(y) \}$, without $y$ itself.
#
# $$ \text{share} = \frac{ \#\{ i : \hat y_i \in F(y_i) \} }{ \#\{ i : \hat y_i \ne y_i \} }, \qquad
#    \text{mass} = \frac{ \sum_i \sum_{c \in F(y_i)} p_{ic} }{ \sum_i ( 1 - p_{i y_i} ) } \tag{2} $$
#
# The *share* looks at wrong predictions alone. The *mass* asks the same of the whole doubt of every image: of
# all the probability on wrong classes, how much lies on look-alikes?
#
# **By hand.** Classes 0 and 1 are a family, class 2 another. Two images of class 0 with $p = (0.5, 0.4, 0.1)$
# and $(0.2, 0.2, 0.6)$: one error, into class 2, so the share is $0/1 = 0$; the mass is $(0.4 + 0.2) / (0.5 +
# 0.8) = 0.46$.


# %% exercise="03-smarter-mistakes" look="section 6, formula (2)"
def family_mistakes(logits: Tensor, labels: Tensor, families: Tensor) -> tuple[float, float]:
    """Look-alikes' share of the errors, and of the probability on wrong classes: formula (2).

    logits: (n, N); labels: (n,) int64; families: (N,) int64, the family of each class. At least one of the n
    predictions is wrong.
    """
    # BEGIN SOLUTION
    rows = torch.arange(len(labels))
    alike = families[labels][:, None] == families  # (n, N)
    alike[rows, labels] = False
    predictions = logits.argmax(1)
    wrong = predictions != labels
    share = alike[rows, predictions][wrong].float().mean().item()
    p = logits.softmax(1)
    mass = (p * alike).sum() / (1 - p[rows, labels]).sum()
    return share, mass.item()
    # END SOLUTION


# %% check="03-smarter-mistakes"
check("03-smarter-mistakes", family_mistakes)

# %% answer="03-smarter-mistakes"
family_mistakes = answer("03-smarter-mistakes", family_mistakes)

# %%
# Your students' mistakes: rows are true classes, columns predictions, a frame is a family; hits are left out.
scores = {name: engine.mistakes(t.logits, t.labels, family_of) for name, t in tests.items()}
for name, t in tests.items():
    share, mass = family_mistakes(t.logits, t.labels, family_of)
    assert abs(share - scores[name].inside) + abs(mass - scores[name].mass) < 1e-3, "yours and labkit's agree"
    print(f"{name:>9}: {scores[name].errors} errors, {share:.1%} in the family; mass {mass:.1%}")
print(f"chance: {scores['alone'].chance:.1%} if errors ignore the family;", end=" ")
print(f"{scores['alone'].chance_prior:.1%} if they name the classes that the student alone prefers")
fig = figures.plot_family_confusion({name: tests[name] for name in ("alone", "distilled")}, family_of)
fig.suptitle("Mistakes of the distilled student stay inside the families, the frames")
show(
    fig, "Two confusion matrices: after distillation fewer mistakes, most of them inside the families' frames"
)

# %%
# Over seeds: share and accuracy of every run on the birds.
kinds = {"scratch": "alone", "label_smoothing": "smoothing", "hinton": "distilled"}
where, measures = {"experiment": "main", "per_class": 5}, ("test", "inside")
shares = {name: [table.values(x, **where, method=m) for x in measures] for m, name in kinds.items()}
tampered = {"experiment": "targets", "data": "birds", "method": "permuted"}
shares["shuffled targets"] = [results.values(x, **tampered) for x in measures]
hasty = {"experiment": "teacher_steps", "teacher_steps": 10}
shares["hasty teacher"] = [results.values(x, **hasty) for x in measures]
agreed = results.interval("agreement", **hasty)
print(f"The hasty teacher's students name the class that it names on {agreed} % of the test images.")
fig = figures.plot_shares(shares, scores["alone"].chance, "errors in the family")
fig.axes[0].set_title("Smarter mistakes: compare at equal accuracy")
show(fig, "Share of errors inside the family over test accuracy, a point per run, above the line of chance")

# %% [markdown]
# **See:** even the student alone errs into the family far more often than chance: it has learned shapes and
# colours before details. The distilled one hardly ever leaves the family, like its teacher. But be careful:
# the mistakes that vanish *first*, with any better training, are the stupid ones, so a higher accuracy raises
# the share by itself. A gift of distillation would be a higher share *at the same accuracy*. The figure has
# such a pair, three runs each: *hasty teacher* is the student of a teacher that was adapted for ten steps only
# (section 9), about as accurate as the student alone, and its mistakes are of the teacher's kind, for it mostly
# names the class that its teacher names. Who learned from *shuffled targets* comes next.
#
# ## 7 · What do soft targets carry?
# **Why.** A teacher's distribution has three parts: *which* class it names, *how sure* it is of it, and
# *which others* it finds similar. Take the third away, leave the first two in place, and see what remains.
# This is DKPP, "dark knowledge with permuted predictions" (Furlanello et al. 2018).
#
# **Rule.** For each row of logits $(B, N)$: the largest stays at its place; all others trade places in a
# random order that is drawn anew for every row. Shuffling logits shuffles probabilities, at every
# temperature; entropy and confidence stay what they were.
#
# **By hand.** $(5, 1, 9, 3)$ may become $(3, 5, 9, 1)$ or $(1, 3, 9, 5)$ or four others, but never $(9, 5, 1,
# 3)$.
#
# A second control, *even*, keeps the largest probability and spreads the rest evenly: label smoothing with
# the teacher's own confidence, image by image.


# %% exercise="03-shuffle-others" look="section 7, rule"
def shuffle_others(logits: Tensor) -> Tensor:
    """Each row of logits (B, N) with its largest in place and the others in a random order of their own.

    Returns a new tensor; leave `logits` as they are. torch.randperm(n) gives a random order of 0..n-1.
    """
    # BEGIN SOLUTION
    shuffled = logits.clone()
    for row in shuffled:
        others = torch.tensor([i for i in range(len(row)) if i != row.argmax()])
        row[others] = row[others[torch.randperm(len(others))]]
    return shuffled
    # END SOLUTION


# %% check="03-shuffle-others"
check("03-shuffle-others", shuffle_others)

# %% answer="03-shuffle-others"
shuffle_others = answer("03-shuffle-others", shuffle_others)

# %% tags=["nbval-check-output"]
print(lab03_tables.targets(results, table))
lost = {data: lab03_tables.fall(results, table, data) for data in ("birds", "digits")}
print(f"Shuffling costs {lost['birds']} points on the birds and {lost['digits']} on the digits.")

# %%
# Your own shuffling, on digits, with one seed; its numbers should fall among those of the table.
print(f"Back to your guess: {my_guess:.1f} points on the birds; over the seeds it is {lost['birds']}.")
tampered = {
    "as they are": digit_teacher,
    "shuffled": lab03_targets.Altered(digit_teacher, shuffle_others).eval(),
}
for name, guide in tampered.items():
    seed_everything(0)
    student = models.build(num_classes=digits.num_classes, **d.student)
    method = methods.create("hinton", student=student, teacher=guide, **lab01.chosen(d)["hinton"])
    run = engine.fit(method, digits, seed=0, **d.training)
    print(f"{name:>12}: {engine.evaluate(run.model, digits.test).accuracy:.1%} of the test digits")

# %% [markdown]
# **See:** compare the last column row by row. (Sweeps have three of the five seeds, and so other means than section
# 5's.) *As they are* minus *even* is what the similarities are worth; *even* minus the labels alone is what the
# teacher's choice and confidence are worth, on every augmented view. On the birds nearly all of the gain goes with
# the similarities: what is left, *even*, can't be told from the labels alone with these seeds. On the digits about
# half of it goes.
#
# *Shuffled* targets do worse than *even* ones, although on average over the orders they are the same: KL is linear in
# the target, and the mean of all orders is the even distribution. What differs is noise. Each view comes with a
# wrong opinion of its own, which only averaging over many views could cancel; formula (3) below calls it variance.
# So the published test is the harsher, and a control that removes knowledge without adding noise the fairer one.
# (A stored view keeps its order; your runs draw a new one at every step.)
#
# ### Information, stated exactly
# Let $p^*(x)$ be the true class probabilities, $\ell(f(x))$ the vector of losses over the $N$ classes, and
# $R(f) = \mathbb{E}_x [\, p^*(x)^{\top} \ell(f(x)) ]$ the risk of a *fixed* predictor $f$. From $n$
# independent inputs of one distribution, with targets $t_i$ that given $x_i$ are independent of everything else,
# estimate it by $\hat R = \frac1n \sum_i t_i^{\top} \ell(f(x_i))$. Then, if $t^{\top} \ell$ has a second moment
# (Menon et al. 2021 bound the second term),
#
# $$ \mathbb{E} (\hat R - R)^2 = \underbrace{\tfrac1n \mathrm{Var}\big[ t^{\top} \ell \big]}_{\text{variance}}
#    + \underbrace{\big( \mathbb{E}_x [ (\bar t(x) - p^*(x))^{\top} \ell ] \big)^2}_{\text{bias of the teacher, squared}}, \qquad \bar t(x) = \mathbb{E}[t \mid x] . \tag{3} $$
#
# - One-hot labels: no bias, and a variance that contains $\frac1n \mathbb{E}_x \mathrm{Var}_{y \sim p^*(x)}
#   [\ell_y]$, the noise of sampling the label.
# - Targets $p^*(x)$: no bias, and that part of the variance is *gone*; it is never larger.
# - A teacher $p^t(x)$, fixed beforehand: no noise of sampling either, but a bias that no number of images
#   removes.
#
# The same holds for each coordinate of a gradient. What (3) does **not** say: anything about an $f$ that was
# chosen on the same images, or by a teacher that was trained on them; or about accuracy.

# %%
# Formula (3), its variances and bias taken from a large sample (labkit's tests repeat the estimate itself).
world = lab03_theory.risk_errors([3, 10, 30, 100, 300, 1000, 3000])
lines = {"sampled labels": world.hard, "true probabilities": world.bayes, "imperfect teacher": world.teacher}
fig = views.plot_lines(world.sizes, lines, "examples n", "mean squared error of the risk")
fig.axes[0].set_title("A teacher helps while labels are few, until its own bias shows")
show(
    fig, "Three falling lines; the imperfect teacher's starts below the labels' and then levels off above it"
)
for heat in (1.0, p.options["hinton"]["temperature"]):
    q = (teacher_test.logits.double() / heat).softmax(1).clamp(min=1e-12)
    print(f"the teacher at T = {heat:g}: {-(q * q.log2()).sum(1).mean():.2f} bits an image", end="; ")
print(f"{birds.num_classes} classes can have {torch.tensor(birds.num_classes).log2():.2f}")

# %% [markdown]
# **See:** where the lines cross depends on how wrong the teacher is. A label sampled from $q$ has $H(q)$ bits
# that come from the draw and not from the image; handing over $q$ itself removes just these. (Nobody samples from
# the teacher at the temperature of distillation: there its targets are nearly even.)
#
# **The data-processing inequality.** Let the student learn from the teacher's outputs *alone* ($w = 0$), on
# inputs and with randomness (initialisation, order) that are independent of the pair $(D,
# \theta_{\text{teacher}})$, where $D$ is the teacher's training set. Then $D \to \theta_{\text{teacher}} \to
# \theta_{\text{student}}$ is a Markov chain, and
#
# $$ I(D; \theta_{\text{student}}) \le I(D; \theta_{\text{teacher}}) . \tag{4} $$
#
# The student can't know more *about $D$* than its teacher. (Independence of $D$ alone is not enough: a seed that both
# trainings share could carry to the student what the teacher's weights hide.) If moreover $D$ has $m$ independent
# examples of one distribution, and for every $\theta$ the loss of an example is $\sigma$-sub-Gaussian, then for
# teacher and student alike $|\mathbb{E}[\text{risk} - \text{empirical risk on } D]| \le \sqrt{2 \sigma^2 I(D;
# \theta) / m}$, $I$ in nats (Xu and Raginsky 2017); by (4) the student's bound is at most the teacher's. It is
# **not** a bound on accuracy: for a new bird $x$ of class $Y$, the student reads $x$, not the teacher's answer, so
# $I(Y; \text{student}(x)) \le I(Y; x)$ is all that follows, and a student may beat its teacher. And with $w > 0$, the
# teacher's own training images, or its seed, as in this lab, there is no chain and (4) says nothing.
#
# ### PAC-Bayes, stated exactly
# Fix a *prior* $\pi$ over classifiers before seeing $n$ independent labelled images of one distribution. With
# probability at least $1 - \delta$, for **all** *posteriors* $\rho$ at once, the error $L$ (any loss in $[0, 1]$) and
# the error $\hat L$ on these images of a classifier drawn from $\rho$ obey (McAllester 1999; in this form Maurer
# 2004, $n \ge 8$)
#
# $$ \mathrm{kl}\big( \hat L(\rho) \,\Vert\, L(\rho) \big) \le \frac{ \mathrm{KL}(\rho \Vert \pi) + \ln (2 \sqrt n / \delta) }{n},
#    \qquad \text{so} \quad L(\rho) \le \hat L(\rho) + \sqrt{ \frac{ \mathrm{KL}(\rho \Vert \pi) + \ln (2 \sqrt n / \delta) }{2 n} } . \tag{5} $$
#
# Where does distillation enter? Only through $\pi$: a student distilled on *other*, even unlabelled, images
# may serve as the prior's centre. If it is already good, $\rho$ need not move far and $\mathrm{KL} = \lVert w
# - w_0 \rVert^2 / 2 \sigma^2$ is small. The smallest example: a linear classifier of digits, prior and posterior
# Gaussian with $\sigma = 0.1$. Half of the images, with labels, are the $n$ of (5). The other half may shape the
# prior: a hundred of its labels, or a teacher that learned from these hundred and labels the rest. (Its epoch is
# chosen on the validation digits, labels that the other prior does not get.) The table inverts the left form of (5);
# half of $\delta = 0.05$ pays for estimating $\hat L(\rho)$ from 300 drawn classifiers. Each row holds with
# probability $1 - \delta$ by itself; it is one draw of the halves.

# %%
found = lab03_live.bounds(labkit.profile(), labels=100)
rows = [
    [name, f"{b.divergence:.0f}", f"{b.empirical:.1%}", f"{b.bound:.1%}", f"{b.test:.1%}"]
    for name, b in found.items()
]
n = next(iter(found.values())).images
columns = ["the prior's centre", "KL, nats", f"error on n = {n} images", "bound", "test error"]
display(Table(columns, rows))
assert all(b.bound >= b.empirical for b in found.values())

# %% [markdown]
# **See:** all three posteriors were fitted to the same $n$ images, each trading its fit against its KL. With a good
# prior the classifier moves little (a small KL) and need not give up fit for it (a small error): *both* terms of
# the bound fall, and between the last two rows it is mostly the error. What is **not** proven: that a distilled
# network generalises *because* it was distilled; anything about a single network instead of one drawn from $\rho$;
# anything at all if the teacher has seen the $n$ images, for then $\pi$ is no prior. (That is the case in the rest of
# this lab. A second kind of theorem goes the other way round: Hsu et al. 2021 bound a *large* network by what it
# can be distilled into.)
#
# ## 8 · Larger teachers, assistants, other students
# **Why.** Is a larger teacher a better teacher? It may draw boundaries that a small student can't follow: the
# *capacity gap* (Cho and Hariharan 2019). To see one, only size may differ: here three widths of one design, all
# pretrained and adapted alike, each with the temperature that suits it. The smallest is the student's own shape.
# Mirzadeh et al. (2019) bridge the gap with an **assistant** of a size between: teacher to assistant, assistant to
# student, each step formula (1).

# %% tags=["nbval-check-output"]
print(lab03_tables.sizes(results, table))
pairs = lab03_tables.by_size(results, table)
levels = {
    "teacher": [interval(own) for own, _ in pairs.values()],
    "its student": [interval(taught) for _, taught in pairs.values()],
}
alone = interval(lab03_tables.by_length(results, table)["scratch", 300])  # the same seeds
fig = figures.plot_teachers(list(pairs), levels, "teacher, by size", ("student alone", alone.mean))
fig.axes[0].set_title("The size of its teacher hardly matters to this student")
show(fig, "Accuracies of three teachers by size and of their students, with the student alone as a line")
print(lab03_tables.chains(results, table))
print("\nOther designs, the same teacher:")
print(lab03_tables.students(results, ["shufflenetv2_narrow", "mobilenetv2_narrow"]))

# %% [markdown]
# **See:** the smallest of the three, of the student's own shape, is the least accurate teacher; its student is not
# clearly behind. From *small* to *mid* the teacher gains nothing and the student loses a little, with an interval
# without zero: that is the sign a capacity gap would have. It is a point or two, beside the tens of section 5. (Each
# temperature was chosen by one seed, so a part of the step may be that choice.) On these birds there is no reason to
# pay for a teacher larger than *small*.
#
# **The assistant** of the papers starts from nothing. Here it then knows far less than an adapted network of the same
# shape, and its student falls behind the one that asked the teacher itself. Give it pretrained weights, and it
# becomes as good as the teacher; its student is then no better, beyond the interval, than the one taught directly.
# The chain trains two networks, at almost three times the cost, and has no gap to bridge. An assistant can't add
# what it did not receive.
#
# Other designs with the same teacher had a third of the steps and no tuning, so compare only within a row; only the
# second gain excludes zero. What does each cost? Compression is *measured* here: parameters, bytes of the file,
# multiply-accumulates, and milliseconds are four numbers, and they don't agree.

# %%
nets = [p.teacher["name"], p.student["name"], *p.students]
shape = (1, birds.channels, birds.image_size, birds.image_size)
display(lab03_tables.costs(nets, birds.num_classes, shape))

# %% [markdown]
# **See:** a ratio of parameters says little about time. Depthwise convolutions (the MobileNet- and ShuffleNet-like
# students) save multiplications, but neither memory traffic nor the number of layers that have to be started; which
# of the two it is, lab 02's tools can tell.
#
# ## 9 · Break it: a worse and worse teacher
# The same student, the same recipe; only the teacher's adaptation is cut short, down to no step at all.

# %% tags=["nbval-check-output"]
names = ["no step", "10 steps", "all 200 steps"]
asked = [{"teacher_steps": 0}, {"teacher_steps": 10}, {}]  # the last are those of the comparison
pairs = [lab03_tables.by_teacher(results, table, **where) for where in asked]
print(lab03_tables.sweep(names, pairs, "adaptation", results.command))
levels = {
    "teacher": [interval(own) for own, _ in pairs],
    "its student": [interval(taught) for _, taught in pairs],
}
fig = figures.plot_teachers(names, levels, "adaptation of the teacher", ("student alone", alone.mean))
fig.axes[0].set_title("A teacher that was not adapted teaches nothing")
show(
    fig,
    "Accuracies of teacher and student over the teacher's steps; without a step the student is as if alone",
)
for name, (_, taught) in zip(names, pairs, strict=True):
    less = paired(taught, lab03_tables.by_length(results, table)["scratch", 300])
    print(f"{name}: the student minus the student alone: {less} points")

# %% [markdown]
# **See:** a teacher with a random head knows nothing, and with these seeds its student can't be told from the
# student alone, nor can that of ten steps: the intervals are wide. Nine tenths of its loss were spent on noise, and
# nothing tells you. No error message, a loss that falls, an accuracy that looks like a student's. (labkit's `fit`
# asks the teacher a few validation images first, and warns.)
#
# ## 10 · Find the bug
# A widely used lab sheet distils an ImageNet ResNet-50 into a ResNet-18 on CIFAR-10 with code like this. It
# runs, the loss falls, and the student reaches what it reaches. `train(network)` fits all trainable
# parameters of a network to the labels; `distill(student, teacher)` trains the student. No line is wrong.
# Find what is missing, and mend it.


# %% exercise="03-bug" look="section 1: what makes a pretrained network a teacher"
def distil_from(teacher, student, num_classes, train, distill):
    """A pretrained teacher for `num_classes` classes teaches the student, which is returned."""
    # BEGIN SOLUTION
    teacher.reset_head(num_classes)
    train(teacher)
    teacher.requires_grad_(False)
    teacher.eval()
    distill(student, teacher)
    return student
    # END SOLUTION
    # BEGIN PROMPT
    # teacher.reset_head(num_classes)  # the old head has a thousand classes
    # teacher.requires_grad_(False)
    # teacher.eval()
    # distill(student, teacher)
    # return student
    # END PROMPT


# %% check="03-bug"
check("03-bug", distil_from)

# %% [markdown] question="03-q-why" points=3
# **Question 1.** "Distillation works because of dark knowledge in the wrong classes." Use the tables of
# sections 5 and 7 to say how much of the gain that sentence explains on the birds and on the digits, and what
# explains the rest. Which comparison of section 6 would you *not* accept as evidence for it, and which would
# you?

# %% [markdown] rubric="03-q-why"
# **Model answer.** The gain over the labels alone splits into two paired differences: as they are minus even
# (the similarities) and even minus labels alone (the teacher's choice and confidence on every augmented
# view). Quote both with their intervals, for both data sets. The shuffled targets fall further, because each
# view also gets noise of its own (on average over the orders they equal the even ones); they prove that the
# similarities matter, not how much. Label smoothing minus alone shows what softness without any knowledge is
# worth. And part of what the similarities carry is the teacher's past: a student that starts with the same
# pretrained weights needs no teacher to pass the distilled one. Distilled against alone in section 6 is no
# evidence by itself: the share of errors in the family rises with accuracy for any reason, since the mistakes
# across families vanish first. The student of the hasty teacher is: as accurate as the student alone, with a
# higher share.
#
# **Rubric.** 1 point: both differences with intervals for one data set. 1 point: the other data set, and what
# shuffling does beside removing the similarities (noise). 1 point: accuracy confounds the share; compare at equal
# accuracy.

# %% [markdown] question="03-q-when-not" points=2
# **Question 2.** Name two situations in which you would *not* distil a classifier, or not from the largest
# teacher you have. For each, which number of this lab would you measure first, and what value of it would
# decide?

# %% [markdown] rubric="03-q-when-not"
# **Model answer.** For instance: pretrained weights of the student exist (fine-tune them first; if the paired gain
# over *that*, the last column of section 5, contains zero or is not worth the teacher's cost: no); the teacher is
# not better than the student alone on *your* data (its test accuracy, section 1; at or below the student's: no);
# labels are plentiful, or there is time for many more steps, and the gain is within the noise (the paired gain over
# seeds at your budget and length, section 5 and its CIFAR-10 table: an interval that contains zero); a larger
# teacher does not raise the student (section 8's paired steps: take the smaller one); the teacher's confusions are
# unacceptable and would be inherited (share and confusion matrix per family, section 6); what is short is
# milliseconds, and the smaller network isn't faster on the device (latency, section 8).
#
# **Rubric.** 1 point each for a situation with a number that is measured beforehand and a value that decides.

# %% [markdown]
# ## 11 · What you should have seen
# - A pretrained network with a new head is no teacher. Adapt it, print its test accuracy, freeze it: mode
#   *and* weights.
# - With five labels a class and the same 300 steps, a distilled student beats the student alone and with label
#   smoothing, with intervals that exclude zero; more steps make the gain smaller (section 5). Validation chose the
#   epoch; the test curve only looked on.
# - A student with the teacher's kind of past, fine-tuned, passes it without any teacher. Count what distillation
#   adds from there: a little.
# - Its mistakes are fewer and more reasonable, and partly the second follows from the first.
# - Shuffling the teacher's wrong classes costs the whole gain, and on the birds a little more (section 7): knowledge
#   goes, and noise comes. There the similarities are most of what it teaches; on the digits about half is its choice
#   and confidence.
# - Teachers of three sizes make about the same student, and an assistant helps nobody here. Where a student starts,
#   how long it trains, and whether its teacher was adapted matter far more (sections 5, 8 and 9).
# - Theorems: soft targets lower the variance and bring the teacher's bias; the data-processing inequality
#   speaks about memorised data, not about accuracy; PAC-Bayes rewards a good prior, if it has not seen the
#   data.
#
# ## What the papers report
# CIFAR-100, top-1 %, from the comparison of Tian et al. (2019, arXiv 1910.10699):
#
# | teacher to student | teacher | student alone | distilled (KD) |
# |---|---|---|---|
# | WRN-40-2 to WRN-16-2 | 75.61 | 73.26 | 74.92 |
# | ResNet-32x4 to ResNet-8x4 | 79.42 | 72.50 | 73.33 |
#
# Caveats: all 50 000 labels, 240 epochs, accuracy of the last epoch, five runs without intervals, no validation
# split described. With all labels the gain is one or two points; yours is larger: labels are few, training is short,
# and your teacher has seen other birds. The second pair has the better teacher and the smaller gain.
# Mirzadeh et al. (2019) report gains for assistants, with hyper-parameters searched at every step; Furlanello
# et al. (2018) that students keep a part of their gain with permuted predictions.
#
# ## Read on
# - Hinton, Vinyals, Dean, *Distilling the knowledge in a neural network*, arXiv 1503.02531: the source.
# - Menon et al., *Why distillation helps: a statistical perspective*, arXiv 2005.10419: formula (3) and what
#   follows from it.
# - Furlanello et al., *Born-again neural networks*, arXiv 1805.04770: the permutation test; lab 06 comes back
#   to it.
# - Cho, Hariharan, *On the efficacy of knowledge distillation*, arXiv 1910.01348, and Mirzadeh et al.,
#   *Improved knowledge distillation via teacher assistant*, arXiv 1902.03393: the capacity gap, stop the
#   teacher early or bridge it.
# - Stanton et al., *Does knowledge distillation really work?*, arXiv 2106.05945: students that don't repeat
#   their teacher.
# - Maurer, *A note on the PAC Bayesian theorem*, arXiv cs/0411099; Xu, Raginsky, *Information-theoretic
#   analysis of generalization capability of learning algorithms*, arXiv 1705.07809; Hsu et al.,
#   *Generalization bounds via distillation*, arXiv 2104.05641.
# - Kumar et al., *Fine-tuning can distort pretrained features*, arXiv 2202.10054: why the head comes first.
