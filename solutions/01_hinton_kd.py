# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 01 · Knowledge distillation
#
# Two networks read handwritten digits. The large one saw every labelled training image. The small one, made for
# a device that can't hold the large one, has only a handful of labels. First, what that costs.

# %% tags=["setup"]
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import Tensor, nn

import labkit
from labkit import answer, check, data, engine, methods, models, views
from labkit.bench import interval, paired, read_results
from labkit.data import batches, stream
from labkit.rng import seed_everything
from labkit.views import Table, show

p = labkit.profile().lab(1)
torch.set_num_threads(p.threads)
results = read_results("lab01")

# %% tags=["nbval-check-output"]
main = {"experiment": "main"}
gap = [
    ["large network, all labels", results.interval(**main, method="teacher")],
    ["small network, few labels", results.interval(**main, method="scratch")],
]
n = len(results.values(**main, method="teacher"))
print(Table(["on 8x8 digits", "test accuracy, %"], gap, note=f"Mean ± 95 % interval over {n} seeds."))

# %% [markdown]
# The small network is not hopeless: it lacks information. A label says *this is a 7*. The large network could
# tell it more: *this is a 7, a little like a 1, and nothing like an 8*. Distillation passes that on.
#
# **You will be able to**
# - *soften* a distribution with a temperature and say what both extremes do;
# - *explain* the distillation loss and its factor $T^2$, and *implement* it without the usual mistakes;
# - *train* a student with it, in a loop you wrote;
# - *judge* the gain against honest controls, with intervals over seeds;
# - *find* a defect that a public distillation library really had.
#
# **You need** PyTorch's basics (a module, an optimiser, a training loop) and lab 00. **It takes** 60 to 90
# minutes; the computing takes about a minute on a laptop's CPU and a few on a GPU with the `gpu` profile
# (MNIST). The runs over many seeds were computed for you; each table names the command that repeats them.
#
# ## 1 · Data, a teacher, few labels
# Real handwritten digits. The teacher learns from all training images; the student gets a few labelled images
# of each class (`few`), the same validation images for choices, and the same test images at the end. (With the
# `gpu` profile the student sees all of MNIST's labels, while the tables remain those of the 8x8 digits: expect
# almost no gap.)
#
# **Predict.** Before you train anything: by how many points of test accuracy will the teacher's probabilities lift
# the small network, given the same images and the same number of steps? Write your guess down; we come back to it.

# %%
my_guess = 1.0  # points of test accuracy: put your own number here
full = data.load(p.data, seed=0)
few = data.load(p.data, seed=0, per_class=p.per_class)
print("teacher:", full.describe())
print("student:", f"{len(few.train):,} labelled images")

pick = torch.cat([(few.train.labels == c).nonzero()[:4, 0] for c in range(few.num_classes)])
titles = [few.classes[label] for label in few.train.labels[pick]]
show(
    views.plot_images(few.train.images[pick], titles, columns=10, size=0.75),
    "Forty small grey images of handwritten digits with their labels: part of what the student learns from",
)

# %%
seed_everything(0)
teacher = models.build(num_classes=full.num_classes, **p.teacher)
run = engine.fit(methods.create("scratch", student=teacher), full, seed=0, **p.teacher_training)
teacher_test = engine.evaluate(teacher, full.test)
print(f"teacher: {teacher_test.accuracy:.1%} on the test images")
assert teacher_test.accuracy > 0.95, "a weak teacher has nothing to teach: see the training settings"

# %% [markdown]
# ## 2 · Soft targets
# **Why.** A trained classifier is nearly certain, so its probabilities look almost like the label itself: the
# interesting part, which wrong classes are *less* wrong, hides in the far decimals. A temperature brings it
# out.
#
# **Formula.** For the logits $z$, shape $(B, N)$, of $B$ images and $N$ classes, and a temperature $T > 0$:
#
# $$ q_{bi} = \frac{\exp(z_{bi} / T)}{\sum_{j=1}^{N} \exp(z_{bj} / T)} \tag{1} $$
#
# $q$ has the shape of $z$ and each row sums to one. $T = 1$ is the ordinary softmax.
#
# **By hand.** Two images, three classes, $T = 2$:
#
# | $z$ | $z / 2$ | $\exp(z/2)$ | sum | $q$ at $T=2$ | softmax at $T=1$ |
# |---|---|---|---|---|---|
# | 4, 2, 0 | 2, 1, 0 | 7.39, 2.72, 1 | 11.11 | 0.67, 0.24, 0.09 | 0.87, 0.12, 0.02 |
# | 0, 0, 2 | 0, 0, 1 | 1, 1, 2.72 | 4.72 | 0.21, 0.21, 0.58 | 0.11, 0.11, 0.79 |
#
# The order of the classes never changes; the distances between them do.


# %% exercise="01-softened-softmax" look="section 2, formula (1)"
def softened_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Probabilities at a temperature.

    logits: (B, N); temperature > 0. Returns (B, N), each row sums to 1.
    """
    # BEGIN SOLUTION
    return torch.softmax(logits / temperature, dim=1)
    # END SOLUTION


# %% check="01-softened-softmax"
check("01-softened-softmax", softened_softmax)

# %% answer="01-softened-softmax"
softened_softmax = answer("01-softened-softmax", softened_softmax)

# %%
# What the teacher says about one digit that it reads correctly but finds ambiguous, beside the label.
probabilities = teacher_test.logits.softmax(1)
right = teacher_test.predictions == teacher_test.labels
doubtful = probabilities.max(1).values.masked_fill(~right, 2.0).argmin()
logits, label = teacher_test.logits[doubtful], int(teacher_test.labels[doubtful])

bars = {"label (one-hot)": F.one_hot(torch.tensor(label), full.num_classes).tolist()}
bars |= {f"T = {t}": softened_softmax(logits[None], float(t))[0].tolist() for t in (1, 3, 10)}
digit = views.plot_images(full.test.images[doubtful][None], [f"a {full.classes[label]}"], columns=1)
show(digit, f"A grey image of a handwritten {full.classes[label]}")
show(
    views.plot_bars(bars, full.classes), "Four bar charts over the classes: one-hot, then flatter as T grows"
)
display(views.temperature_slider(softened_softmax, logits, full.classes))

# %% [markdown]
# **See:** the label names one class; the teacher, at a raised temperature, also says which classes the image
# resembles. At $T = 10$ even that begins to drown. In a live notebook, move the slider to both ends.
#
# ## 3 · The distillation loss
# **Why.** The student should give the *same softened distribution* as the teacher. The natural distance from a
# target distribution is the Kullback-Leibler divergence, which is zero exactly when the two agree.
#
# **Formula.** With teacher logits $z^{t}$ and student logits $z^{s}$, both $(B, N)$, and $q^{t}, q^{s}$ from (1):
#
# $$ L_{\mathrm{KD}} = T^2 \cdot \frac{1}{B} \sum_{b=1}^{B} \sum_{i=1}^{N} q^{t}_{bi}
#   \left( \ln q^{t}_{bi} - \ln q^{s}_{bi} \right) \tag{2} $$
#
# Sum over the classes, mean over the images. The teacher is a constant: use `teacher_logits.detach()`. Take
# logarithms with `F.log_softmax(z / T, dim=1)`; the logarithm of a softmax breaks down where it underflows.
#
# **By hand.** One image of two classes at $T = 2$, softened teacher $(0.7, 0.3)$, softened student
# $(0.5, 0.5)$: $0.7 \ln\frac{0.7}{0.5} + 0.3 \ln\frac{0.3}{0.5} = 0.2355 - 0.1532 = 0.0823$, and with $T^2 = 4$
# the loss is $0.329$. The other way round, $\mathrm{KL}(s \Vert t)$ is $0.087$: not the same.
#
# **Why $T^2$?** The derivative of the sum in (2) with respect to $z^s_{bi}$ is $\frac{1}{T} (q^s_{bi} - q^t_{bi})$,
# and for a large $T$ the difference of two nearly flat distributions is itself about
# $\frac{1}{TN} (z^s_{bi} - z^t_{bi})$ for logits with mean zero. Two factors $1/T$: without $T^2$ the soft term
# would fade as you raise $T$, and with it the limit is plain regression of the logits.


# %% exercise="01-kd-loss" look="section 3, formula (2)"
def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Distillation loss, formula (2).

    student_logits, teacher_logits: (B, N); temperature > 0. teacher_logits is a constant: detach it.
    Returns a scalar.
    F.kl_div(input, target, reduction="batchmean", log_target=True) takes log-probabilities.
    """
    # BEGIN SOLUTION
    log_student = F.log_softmax(student_logits / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence
    # END SOLUTION


# %% check="01-kd-loss"
check("01-kd-loss", kd_loss)

# %% answer="01-kd-loss"
kd_loss = answer("01-kd-loss", kd_loss)

# %%
# Your loss, measured: the size of its gradient as T grows, and what is left of it without T².
seed_everything(0)
student_logits = torch.randn(64, 10)
teacher_logits = 3 * torch.randn(64, 10)
temperatures = torch.logspace(0, 2, 15).tolist()


def gradient_size(temperature):
    z = student_logits.clone().requires_grad_()
    kd_loss(z, teacher_logits, temperature).backward()
    return z.grad.norm().item()


sizes = {"with T²": [gradient_size(t) for t in temperatures]}
sizes["without"] = [g / t**2 for g, t in zip(sizes["with T²"], temperatures, strict=True)]
fig = views.plot_lines(temperatures, sizes, xlabel="temperature T", ylabel="gradient norm")
fig.axes[0].set_title("T² keeps the gradient's size")
show(fig, "Two curves against T, logarithmic: with T squared nearly level, without it falling like 1/T²")

# %% [markdown]
# **See:** with $T^2$ the curve levels off, so you can change $T$ without changing the weight of the term.
#
# ## 4 · Labels and teacher together
# **Why.** Teachers err, and labels are right. Keep both, with weights that sum to one. ($\alpha$ means the weight
# of the *labels* in some code and of the *teacher* in other code; here it is `hard_weight`, so that nobody has
# to guess.)
#
# **Formula.** With labels $y$, shape $(B)$, and hard weight $w \in [0, 1]$:
#
# $$ L = w \cdot \mathrm{CE}(z^s, y) + (1 - w) \cdot L_{\mathrm{KD}}(z^s, z^t; T) \tag{3} $$
#
# The cross-entropy is at $T = 1$: labels know no temperature.
#
# **By hand.** $\mathrm{CE} = 1.2$, $L_{\mathrm{KD}} = 0.4$, $w = 0.25$: $L = 0.3 + 0.3 = 0.6$.


# %% exercise="01-kd-objective" look="section 4, formula (3)"
def kd_objective(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, hard_weight: float
) -> Tensor:
    """The student's whole objective, formula (3).

    logits: (B, N); labels: (B,) int64; hard_weight in [0, 1] belongs to the labels. Returns a scalar.
    """
    # BEGIN SOLUTION
    hard = F.cross_entropy(student_logits, labels)
    soft = kd_loss(student_logits, teacher_logits, temperature)
    return hard_weight * hard + (1 - hard_weight) * soft
    # END SOLUTION


# %% check="01-kd-objective"
check("01-kd-objective", kd_objective)

# %% answer="01-kd-objective"
kd_objective = answer("01-kd-objective", kd_objective)

# %%
# What each term asks of an untrained student (all logits zero) that sees the doubtful digit from above:
# the downhill direction, minus the gradient, for each class.
pull = {}
for name, weight in {"labels only (w = 1)": 1.0, f"teacher only (w = 0, T = {p.temperature:g})": 0.0}.items():
    z = torch.zeros(1, full.num_classes, requires_grad=True)
    kd_objective(z, logits[None], torch.tensor([label]), p.temperature, weight).backward()
    pull[name] = (-z.grad[0]).tolist()
fig = views.plot_bars(pull, full.classes, ylabel="push on the logit")
show(fig, "Left: one bar up, all others equally down. Right: bars of many heights, several of them up")

# %% [markdown]
# **See:** the label pushes one class up and all others down alike. The teacher also pushes up the classes that the
# image resembles: one image teaches something about several classes.
#
# ## 5 · One step of training
# **Why.** Around the loss there are four ways to go wrong that no error message tells you about: each network
# must be in its own mode, the teacher must stay frozen, the gradients must be fresh.
#
# **Rules.** The student is in *train* mode at every step, even if somebody evaluated it a moment ago. The teacher
# is in *eval* mode (no dropout, BatchNorm statistics at rest) and is asked without recording a graph; `.detach()`
# afterwards is too late, the graph was built. Then the usual three lines.
#
# A network of labkit returns an `Output`; its `.logits` are $(B, N)$.


# %% exercise="01-train-step" look="section 5, rules"
def train_step(
    student: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    temperature: float,
    hard_weight: float,
) -> float:
    """One step of distillation on images (B, C, H, W) and labels (B,); returns the loss as a number."""
    # BEGIN SOLUTION
    student.train()
    teacher.eval()
    with torch.no_grad():
        teacher_logits = teacher(images).logits
    student_logits = student(images).logits
    loss = kd_objective(student_logits, teacher_logits, labels, temperature, hard_weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    # END SOLUTION


# %% check="01-train-step"
check("01-train-step", train_step)

# %% answer="01-train-step"
train_step = answer("01-train-step", train_step)

# %%
# Your step, in a loop: once with the labels alone (w = 1), once with the teacher.
device = next(teacher.parameters()).device


def train_by_hand(hard_weight):
    """Train a new student with your own step for the profile's number of steps; returns it and its losses."""
    seed_everything(0)
    student = models.build(num_classes=few.num_classes, **p.student).to(device)
    optimizer = torch.optim.Adam(student.parameters(), lr=p.training["lr"])
    size = p.training["batch_size"]
    images = stream(few.train, size, p.live_steps, augment=few.augment, device=device)
    return student, [
        train_step(student, teacher, optimizer, b.image, b.label, p.temperature, hard_weight) for b in images
    ]


alone, losses_alone = train_by_hand(1.0)
distilled, losses_distilled = train_by_hand(p.hard_weight)
fig = views.plot_losses({"alone": losses_alone, "distilled": losses_distilled}, window=50)
fig.axes[0].set_title("Both losses fall; the thick line is the centred mean over 50 steps")
show(fig, "Two falling loss curves with their moving averages")

# %% [markdown]
# **See:** both curves fall. Their *heights* can't be compared, because the two objectives differ; for a
# comparison you need the accuracy.
#
# ## 6 · Measuring
# **Rules.** Eval mode during the measurement, no gradients, every image counted once (the last batch is smaller),
# and the network handed back in the mode it came in.
#
# **By hand.** Batches of 4, 4 and 1 image with 4, 3 and 0 hits: $7 / 9 = 0.778$. The mean of the batches'
# accuracies is $0.583$: wrong.


# %% exercise="01-evaluate" look="section 6, rules"
def evaluate(model: nn.Module, pairs) -> float:
    """Accuracy in [0, 1] over `pairs`, an iterable of (images (B, C, H, W), labels (B,))."""
    # BEGIN SOLUTION
    was_training = model.training
    model.eval()
    hits = images_seen = 0
    with torch.no_grad():
        for images, labels in pairs:
            hits += (model(images).logits.argmax(1) == labels).sum().item()
            images_seen += len(labels)
    model.train(was_training)
    return hits / images_seen
    # END SOLUTION


# %% check="01-evaluate"
check("01-evaluate", evaluate)

# %% answer="01-evaluate"
evaluate = answer("01-evaluate", evaluate)


# %%
def test_accuracy(model):
    return evaluate(model, ((b.image, b.label) for b in batches(few.test, 256, device=device)))


by_hand = {
    "alone": test_accuracy(alone),
    "distilled": test_accuracy(distilled),
    "teacher": test_accuracy(teacher),
}
for name, accuracy in by_hand.items():
    print(f"{name:>9}: {accuracy:.1%} of the test images")
assert abs(by_hand["teacher"] - teacher_test.accuracy) < 0.002, "your evaluate and labkit's should agree"

# %% [markdown]
# ## 7 · The experiment
# One seed proves little: another draw of the few labels moves these numbers by points.
#
# Now the comparison one would defend. Every seed draws the labels, the initialisation and the order; student,
# steps, batch size and augmentation are the same for all methods. Two controls stand beside distillation: the
# student **alone**, and the student with **label smoothing**, which also softens the targets but knows nothing.
# Each method's settings were chosen among six on validation images, with seeds that are not reported.

# %% tags=["nbval-check-output"]
words = {
    "teacher": "teacher, all labels", "hinton": "student, distilled",
    "label_smoothing": "student, label smoothing", "scratch": "student, alone",
}  # fmt: skip
accuracies = {name: results.values(**main, method=m) for m, name in words.items()}
best, smooth, plain = (accuracies[words[m]] for m in ("hinton", "label_smoothing", "scratch"))
gain = {words["label_smoothing"]: paired(best, smooth), words["scratch"]: paired(best, plain)}
rows = [[name, interval(values), gain.get(name, "")] for name, values in accuracies.items()]
note = f"Mean ± 95 % interval over {n} seeds; differences paired by seed: {results.command}"
print(Table(["digits", "test accuracy, %", "distilled minus it"], rows, note=note))
print(f"label smoothing minus alone: {paired(smooth, plain)} points, paired by seed")

# %%
students = {name: values for name, values in accuracies.items() if "student" in name}
level = {"teacher": results.interval(**main, method="teacher").mean}
fig = views.plot_seeds(students, level)
fig.axes[0].set_title("Distilled students beat both controls; a point is a seed, a bar the mean", pad=18)
show(fig, "Points of test accuracy by seed: distilled students lie between the others and the teacher's line")

# %% [markdown]
# And once live, through labkit's `fit`, which does what your loop did and also picks the best epoch on validation
# images. Its single seed should fall among the points above.


# %%
def train(method, weight_decay=0.0, **options):
    """One student, trained by labkit from the same initial weights."""
    seed_everything(0)
    student = models.build(num_classes=few.num_classes, **p.student)
    made = methods.create(method, student=student, teacher=teacher, **options)
    return engine.fit(made, few, seed=0, weight_decay=weight_decay, **p.training).model


live = {"alone": train("scratch", weight_decay=p.scratch_weight_decay)}
live["distilled"] = train("hinton", temperature=p.temperature, hard_weight=p.hard_weight)
tests = {name: engine.evaluate(model, few.test) for name, model in live.items()}
for name, test in tests.items():
    print(f"{name:>9}: {test}")
assert tests["distilled"].accuracy > tests["alone"].accuracy - 0.02, "distillation should not hurt here"

# %%
fig = views.plot_confusion(tests)
show(fig, "Two confusion matrices without their diagonals: fewer mistakes after distillation")

# %% [markdown]
# **See:** where mistakes vanish. Which pairs of digits did the teacher help to tell apart?
#
# What the student is *for*: the same task in a fraction of the memory and time.

# %%
shape = (1, full.channels, full.image_size, full.image_size)
networks = {"teacher": (teacher, teacher_test), **{n: (live[n], tests[n]) for n in ("alone", "distilled")}}
reference = models.cost(teacher, shape).parameters
rows = []
for name, (model, test) in networks.items():
    spent, clock = models.cost(model, shape), models.latency(model, shape, runs=50)
    rows.append([
        name, f"{test.accuracy:.1%}", f"{spent.parameters:,}", f"{reference / spent.parameters:.0f}x",
        f"{clock.median:.2f}", f"{spent.weight_bytes / 2**20:.2f}",
    ])  # fmt: skip
columns = ["network", "test accuracy", "parameters", "compression", "latency, ms", "weights, MiB"]
note = f"Median latency of single images on {clock.device}; lab 02 measures it properly."
display(Table(columns, rows, note=note))

# %% [markdown]
# ## 8 · Hard, soft, or both?
# The weight of the labels from 0 (the teacher alone; no label is ever used) to 1 (no teacher).

# %% tags=["nbval-check-output"]
by_weight = results.sweep("hard_weight")
ends = {0.0: "soft only", 0.5: "both", 1.0: "hard only"}
names = [f"w = {w:g} {ends.get(w, '')}".strip() for w in by_weight.values]
print(by_weight.table("weight of the labels", names, note=results.command))

methods_of = {"teacher": "teacher", "alone": "scratch", "smoothing": "label_smoothing"}
lines = {name: results.interval(**main, method=m) for name, m in methods_of.items()}
fig = views.plot_sweep(
    by_weight.values, *zip(*by_weight.intervals, strict=True), xlabel="weight w", lines=lines
)
fig.axes[0].set_title("Any share of teacher helps; the labels add little to it")
show(fig, "Test accuracy against the labels' weight: nearly level, lower at 0.9, lowest at 1")

# %% [markdown]
# **See:** compare the two ends, and read how wide the plateau between them is before you tune $w$ to a digit. At
# $w = 1$ stands the student alone, here without the weight decay that its own tuning chose.
#
# ## 9 · Break it: the temperature
# Both ends of the range, with the teacher and the baselines as lines. All points have the same number of steps.

# %% tags=["nbval-check-output"]
by_temperature = results.sweep("temperature")
names = [f"T = {t:g}" for t in by_temperature.values]
print(by_temperature.table("temperature", names, note=results.command))

points = zip(*by_temperature.intervals, strict=True)
fig = views.plot_sweep(by_temperature.values, *points, xlabel="temperature T", lines=lines, log=True)
fig.axes[0].set_title("A low temperature wastes the teacher")
show(fig, "Test accuracy against temperature, logarithmic: rising from T = 1, then level, below the teacher")

# %% [markdown]
# **See:** at $T = 1$ the nearly one-hot teacher says little more than the labels do. The seeds are shared, so compare
# neighbours by the last column: where its interval contains zero, their order is noise.
#
# Now break it yourself, far outside the range on both sides. What does formula (1) say happens to the targets, and
# which of the two ends does the student survive?

# %%
for extreme in (0.1, 500.0):
    student = train("hinton", temperature=extreme, hard_weight=p.hard_weight)
    print(f"T = {extreme:g}: {engine.evaluate(student, few.test).accuracy:.1%}")
    print("  targets:", softened_softmax(logits[None], extreme)[0].numpy().round(4))

# %% [markdown]
# ## 10 · Find the bug
# A public distillation library trained its students with a loop like the one below. It runs, the loss falls, and
# the student is worse than it should be. `step(images, labels)` trains on one batch; `measure(student)` evaluates as
# usual and returns the accuracy. One line is in the wrong place: find it and mend the loop.


# %% exercise="01-bug" look="the state of the student at the start of each epoch"
def distil(student, pairs, epochs, step, measure):
    """Train for some epochs over `pairs` of (images, labels); returns the accuracy after each epoch."""
    # BEGIN SOLUTION
    accuracies = []
    for _ in range(epochs):
        student.train()
        for images, labels in pairs:
            step(images, labels)
        accuracies.append(measure(student))
    return accuracies
    # END SOLUTION
    # BEGIN PROMPT
    # accuracies = []
    # student.train()
    # for _ in range(epochs):
    #     for images, labels in pairs:
    #         step(images, labels)
    #     accuracies.append(measure(student))
    # return accuracies
    # END PROMPT


# %% check="01-bug"
check("01-bug", distil)

# %%
# Back to your guess.
gain = paired(accuracies["student, distilled"], accuracies["student, alone"])
print(f"you guessed {my_guess:.1f} points; over {n} seeds it is {gain}")

# %% [markdown] question="01-q-smoothing" points=2
# **Question 1.** Label smoothing softens the targets as well, without a teacher. Use section 7 to say what part of
# the gain softness alone could explain, and what part it could not. What would you expect if the
# *teacher* had been trained with label smoothing?

# %% [markdown] rubric="01-q-smoothing"
# **Model answer.** Softness alone is what label smoothing gives over *alone*: here no gain that one could tell from
# noise. What distillation adds beyond it, with an interval that excludes zero, must come from what the teacher knows: which classes an image resembles, and
# how sure one can be of it. A teacher trained with label smoothing pushes all wrong classes to one level, which
# erases just this information, so it teaches worse even if it is more accurate (Müller et al. 2019).
#
# **Rubric.** 1 point: quotes smoothing minus alone, and distilled minus smoothing, *with* their intervals. 1 point: similarity of
# classes is erased by smoothing in the teacher.

# %% [markdown] question="01-q-when-not" points=2
# **Question 2.** Name two situations in which you would *not* use distillation, and say how you would notice
# before shipping the student.

# %% [markdown] rubric="01-q-when-not"
# **Model answer.** For instance: the teacher is no better than the student trained alone on the deployment data
# (measure both on the same held-out data first); labels are plentiful, so that the gap to the teacher is within the
# noise (measure the gap over seeds); the teacher's errors or biases are unacceptable and would be inherited (compare
# per-class and per-group errors of both); student and teacher see different inputs, such as another crop or
# normalisation (check the teacher's accuracy *inside* the student's pipeline); the deployed task has classes the
# teacher doesn't know.
#
# **Rubric.** 1 point each for a situation with a concrete measurement that reveals it.

# %% [markdown]
# ## What you should have seen
# - A temperature reveals what a confident network knows about the wrong classes.
# - $T^2$ keeps the soft term's weight when you change $T$; at a huge $T$ the loss becomes logit regression.
# - With few labels the distilled student beats the same student alone and with label smoothing, and the paired
#   interval excludes zero (section 7). With many labels on so easy a task the gap closes: then the honest answer
#   is that you cannot see the effect.
# - The curves over $T$ and $w$ are flat in the middle. Do not tune to their noise.
#
# ## What the paper reports
# Hinton, Vinyals and Dean (2015), section 3, on MNIST's 10 000 test images:
#
# | network | test errors |
# |---|---|
# | large: two layers of 1200 units, dropout, weight constraints, jittered images | 67 |
# | small: two layers of 800 units, no regularisation | 146 |
# | the small one, distilled at $T = 20$ | 74 |
#
# Caveats: single runs, no interval; the small network differs from the large one in regularisation as well as in
# size; all 60 000 images are used, so the small network has what yours lacked. A difference of 72 errors is far
# outside the counting noise (about $\sqrt{146} \approx 12$), one of 7 is not.
#
# ## Read on
# - Hinton, Vinyals, Dean, *Distilling the knowledge in a neural network*, arXiv 1503.02531: the source.
# - Ba, Caruana, *Do deep nets really need to be deep?*, arXiv 1312.6184: regression of logits, your $T \to \infty$.
# - Beyer et al., *Knowledge distillation: a good teacher is patient and consistent*, arXiv 2106.05237: same crop for
#   both networks, and many more epochs than you think.
# - Müller, Kornblith, Hinton, *When does label smoothing help?*, arXiv 1906.02629: why a smoothed teacher teaches
#   worse.
