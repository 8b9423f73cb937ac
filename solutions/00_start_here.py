# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 00 · Start here
#
# This course is about large networks that teach small ones. Before the first lesson, a short tour: one small
# bird goes through a large network and a small one, and on the way you meet everything the labs are made of.
#
# **When you are done you can**
# - *tell* whether this machine is ready for the labs, and *switch* between their profiles;
# - *complete* a TODO cell, *check* it, and *read* the hint for your own mistake;
# - *compute* by hand what a classifier decides, how sure it is, and how often it is right;
# - *find* a defect that makes a frozen teacher give unsteady answers.
#
# **You need** Python, and to know what a tensor's shape is. **It takes** 15 to 20 minutes; the computing is
# about a minute, with or without a GPU. Both networks are trained in front of you.
#
# Run the cells in order: click into one and press **Shift + Enter**. The first gets labkit where it is
# missing and otherwise does nothing. You cannot break anything here.

# %% tags=["setup"]
import copy

import torch
from IPython.display import display

import labkit
from labkit import answer, check
from labkit.course import record
from labkit.doctor import examine
from labkit.engine import evaluate, fit
from labkit.views import PALETTE, Table, figure, show

# %% [markdown]
# ## 1 · Is everything in place?
# The next cell asks labkit's doctor. Every line should say *yes*; a line that says *no* also says how to mend
# it. In a terminal, `labkit doctor` prints the same with versions, memory and folders.
#
# It also shows your **profile**, the one switch of the course. `cpu` works offline in minutes on any computer
# and uses whatever device it finds; `gpu` takes real data sets and pretrained networks. Only you switch,
# before a notebook starts: `labkit lab 0 --profile gpu`, or the environment variable `LABKIT_PROFILE` (on
# Colab, set it in a cell of your own above all others). The code of the labs is the same in both.

# %%
findings = examine()
rows = [(f.what, "yes" if f.ok else "no", "" if f.ok else f"{f.found}: {f.mend}") for f in findings]
ready = all(f.ok for f in findings)
verdict = "This machine is ready." if ready else "Mend the lines that say no, then run this cell again."
display(Table(["looked at", "in order?", "how to mend it"], rows, note=verdict))

profile = labkit.profile()
settings = profile.lab(0)
torch.set_num_threads(settings.threads)
print(f"Profile '{profile.name}': this lab works on the data set '{profile.images}'.")

# %% [markdown]
# **Where your work lives.** `labkit lab 0` opened a copy in the folder `work`; it is yours and is never
# overwritten. Add cells where you like (select a cell, press **B**): after a new release of the course,
# `labkit update` carries them and your answers over. To begin again, `labkit lab 0 --fresh` keeps the old
# copy under a name with the date. (On Colab there is no such folder: save a copy in your Drive before you
# start.)
#
# ## 2 · The big network is right here and the small one is wrong
# The course has a world of its own, the **Aviary**: drawn birds of 60 species, in families of four look-alikes
# that differ in two details, such as the colours of bill and cap, and in nothing else. Scene, pose, light and
# blur vary, and say nothing about the species. (With the profile `gpu` the same cells take CIFAR-10's
# photographs.)
#
# A *teacher* with wide layers learns from every labelled training image. A *student*, much smaller, gets only a
# few labels of each species. Both have seen birds before, of other species: their first weights come with
# labkit. Nothing is distilled yet: each learns from its labels alone, and neither sees the test images. Then
# comes one test bird, and what the two say it is. (Code that only draws need not be read, here and in every
# lab.)

# %%
data = labkit.data.load(profile.images)
few = labkit.data.load(profile.images, per_class=settings.labels_per_class)


def train(name, images, options):
    torch.manual_seed(0)
    net = labkit.models.build(name, data.num_classes, weights=settings.weights)
    return fit(labkit.methods.create("scratch", student=net), images, seed=0, **options).model


teacher = train(settings.teacher, data, settings.teacher_fit)
student = train(settings.student, few, settings.student_fit)

# %%
on_teacher, on_student = evaluate(teacher, data.test), evaluate(student, data.test)  # on all test images
labels = on_student.labels
wrong = on_student.predictions != labels
only_teacher = (wrong & (on_teacher.predictions == labels)).nonzero()[:, 0]
lead = on_student.logits.amax(1) - on_student.logits.gather(1, labels[:, None])[:, 0]
pick = only_teacher[lead[only_teacher].argmax()].item()  # the student's most decided mistake
image, truth = data.test[pick]
big, small = (e.predictions[pick].item() for e in (on_teacher, on_student))

# %%
panels = {"Who is this?": image}
for name, said in (("Teacher", big), ("Student", small)):
    example = (data.train.labels == said).nonzero()[0].item()  # what this species looks like
    panels[f"{name}: like this one,\n{data.classes[said]}"] = data.train[example][0]
fig, axes = figure(1, 3, width=10, height=3.4)
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture.permute(1, 2, 0))
    axis.set_title(title, fontsize=9)
    axis.axis("off")
show(fig, f"The bird, and one of each species named: {data.classes[big]}, {data.classes[small]}.")

# %% [markdown]
# **Predict.** The label agrees with the teacher. Now think of *all* test images that the student gets wrong:
# on what share of them is the teacher right? Near 0, both stumble over the same images and the teacher has
# little to offer; near 1, nearly every mistake of the student could be corrected by someone we already have.
# Put your guess in the next cell, before you go on. At the end of section 5 you measure it.

# %%
my_guess = 0.5  # a number from 0 to 1

# %% [markdown]
# ## 3 · Your first TODO, wrong on purpose
# All a classifier gives for an image is one number per class, its **logits**; for a batch, a tensor of shape
# `(B, N)`: `B` images along axis 0, `N` classes along axis 1. It decides on the class with the largest logit.
# By hand:
#
# | logits | class 0 | class 1 | class 2 | decision |
# |---|---|---|---|---|
# | first image | 2.0 | 1.0 | 0.0 | 0 |
# | second image | 1.5 | -1.0 | 3.0 | 2 |
#
# Cells whose first line says `TODO` are yours. Take these steps with the one below:
# 1. Run it as it is, then run the check under it: the box says **To do** and where to look.
# 2. Replace the line with `raise` by `return logits.argmax()`. **That is wrong on purpose.** Run both cells:
#    the box says **Not right yet**, and the hint is meant for exactly this mistake. Read it.
# 3. Mend the line as the hint says, and run both cells until the box says **Passed**.
#
# A failed check costs nothing. It only counts attempts: with each one another general hint opens, and with the
# fifth a solution. The third cell is a safety net: `answer` hands on your function once it passes, and
# the reference until then, so that you can always go on and come back later.


# %% exercise="00-top-class" look="section 3, the table"
def top_class(logits):
    """The number of the class with the largest logit for each image: logits (B, N) -> classes (B,)."""
    # BEGIN SOLUTION
    return logits.argmax(dim=1)
    # END SOLUTION


# %% check="00-top-class"
check("00-top-class", top_class)

# %% answer="00-top-class"
top_class = answer("00-top-class", top_class)

# %% [markdown]
# ## 4 · How sure is it?
# *Why.* Logits have no unit: a 3 is a lot beside zeros and nothing beside a 9. **Softmax** turns the logits
# of one image, $z_1 \dots z_N$, into probabilities: positive, with sum one.
#
# $$p_c = \frac{e^{z_c}}{\sum_{j=1}^{N} e^{z_j}} \qquad (1)$$
#
# *By hand*, for the first image above: $e^2, e^1, e^0$ are 7.39, 2.72 and 1.00, together 11.11, so the
# probabilities are 0.67, 0.24 and 0.09. For the second, $e^{1.5}, e^{-1}, e^3$ are 4.48, 0.37 and 20.09, together
# 24.94: 0.18, 0.01 and 0.81.
#
# *A trap.* In float32, $e^{100}$ is already infinite, and infinity divided by infinity is not a number. But
# only differences count: with $m$ the largest logit of the same image, formula (2) has the same value, and no
# exponent is above zero.
#
# $$p_c = \frac{e^{z_c - m}}{\sum_{j=1}^{N} e^{z_j - m}}, \qquad m = \max_j z_j \qquad (2)$$
#
# Write it for a whole batch, from `exp`, `sum` and `max` (`logits.max(dim=1, keepdim=True).values` has shape
# `(B, 1)`). `torch.softmax` would pass as well; next time use it, once write it.


# %% exercise="00-softmax" look="section 4, formula (2)"
def softmax(logits):
    """Probabilities of the classes of each image: logits (B, N) -> (B, N), finite also for large logits."""
    # BEGIN SOLUTION
    shifted = logits - logits.max(dim=1, keepdim=True).values  # (B, N), at most 0
    exp = shifted.exp()
    return exp / exp.sum(dim=1, keepdim=True)
    # END SOLUTION


# %% check="00-softmax"
check("00-softmax", softmax)

# %% answer="00-softmax"
softmax = answer("00-softmax", softmax)

# %% [markdown]
# Now your two functions look at the bird from section 2: the five classes that each network finds most probable.

# %%
both = torch.stack([on_teacher.logits[pick], on_student.logits[pick]])  # (2, N)
fig, axes = figure(2, 1, height=4)
for axis, name, p, best in zip(axes, ["Teacher", "Student"], softmax(both), top_class(both), strict=True):
    top = p.topk(5)
    colours = [PALETTE["green"] if c == truth else PALETTE["sky"] for c in top.indices]
    axis.barh([data.classes[c] for c in top.indices], top.values, color=colours)
    axis.invert_yaxis()
    axis.set(title=f"{name}: {data.classes[best]}, p = {p[best]:.2f}", xlim=(0, 1))
axes[1].set_xlabel("probability (truth in green)")
show(fig, f"Five bars each: the teacher says {data.classes[big]}, the student {data.classes[small]}.")

# %% [markdown]
# *What to see.* The student's mistake is no toss of a coin: it puts its answer well above the truth. (This is its
# most decided mistake among those that the teacher gets right; section 2 picked it.) The teacher is not certain
# either: read the names under its first bar. What it leaves to them says which birds this one resembles,
# something no label ever told. Lab 01 has a knob that brings it out, and a student that learns from it.
#
# ## 5 · How often is it right?
# One bird proves nothing. **Accuracy** is the share of images whose decision is their label $y_i$, a number
# from 0 to 1:
#
# $$\text{accuracy} = \frac{1}{B} \sum_{i=1}^{B} [\text{top class of image } i = y_i] \qquad (3)$$
#
# where the bracket is 1 if its content holds, else 0. *By hand*: the two images of section 3 are decided 0
# and 2; with the labels 0 and 1 there is one hit in two, accuracy 0.5.


# %% exercise="00-accuracy" look="section 5, formula (3)"
def accuracy(logits, labels):
    """Share of right decisions, from 0 to 1: logits (B, N), labels (B,) -> a number."""
    # BEGIN SOLUTION
    hits = top_class(logits) == labels  # (B,) True or False
    return hits.float().mean().item()
    # END SOLUTION


# %% check="00-accuracy"
check("00-accuracy", accuracy)

# %% answer="00-accuracy"
accuracy = answer("00-accuracy", accuracy)

# %%
rows = []
for name, net, result in (("teacher", teacher, on_teacher), ("student", student, on_student)):
    share, (low, high) = accuracy(result.logits, labels), result.interval
    size = sum(p.numel() for p in net.parameters())
    rows.append([name, f"{size:,}", f"{share:.1%}", f"{low:.1%} to {high:.1%}"])
note = f"95 % intervals over the {len(labels)} test images; one training run each."
display(Table(["network", "parameters", "test accuracy", "interval"], rows, note=note))

rescued = accuracy(on_teacher.logits[wrong], labels[wrong])
print(f"You guessed {my_guess}.")
print(f"The teacher is right on {rescued:.2f} of the {int(wrong.sum())} mistakes of the student.")
assert on_teacher.accuracy > on_student.accuracy + 0.02
assert 0.3 < rescued <= 1

# %% [markdown]
# *What to see.* The share in the last line is the room this course works in: mistakes of a small network that
# a large one could correct. It is no promise. Whether a small network *can* take over what the large one
# knows, and how, is the question of all labs to come.
#
# ## 6 · Find the bug
# In the labs a trained teacher is asked about batch after batch, and must stay as it is: *frozen*. The
# function below does it the way a public training script for a well-known paper did: load the weights, switch
# their gradients off, ask. It runs, nothing is red, and the answers are wrong. This time the cell is not
# empty: **mend the code that is there**.
#
# The cell after it makes the defect visible. It asks about one and the same bird ten times, each time in the
# company of seven birds of another species. A frozen teacher would not care, and all bars would be equally
# long. Run it before and after your repair.


# %% exercise="00-frozen-teacher" look="section 6"
def ask_teacher(teacher, images):
    """Logits (B, N) of a frozen teacher for images (B, C, H, W); each row depends on its own image only."""
    # BEGIN SOLUTION
    teacher.requires_grad_(False)
    teacher.eval()  # BatchNorm keeps to its stored statistics, Dropout is off
    return teacher(images).logits
    # END SOLUTION
    # BEGIN PROMPT
    # teacher.requires_grad_(False)
    # return teacher(images).logits
    # END PROMPT


# %%
torch.manual_seed(0)
sure = {}
for other in range(0, data.num_classes, data.num_classes // 10):
    company = [i for i in (labels == other).nonzero()[:8, 0].tolist() if i != pick][:7]
    batch = torch.stack([data.test[i][0] for i in [pick, *company]])  # (8, C, H, W)
    suspect = copy.deepcopy(teacher).cpu().train()  # the mode in which training leaves a network
    sure[data.classes[other]] = softmax(ask_teacher(suspect, batch))[0, truth].item()
fig, axis = figure(height=3.2)
axis.barh([*sure], [*sure.values()], color=PALETTE["blue"])
axis.set(title="The same bird, asked in ten different batches", xlim=(0, 1))
axis.set(ylabel="the seven others", xlabel=f"probability of {data.classes[truth]}")
show(fig, f"Ten bars, one per company; lowest {min(sure.values()):.2f}, highest {max(sure.values()):.2f}.")

# %% check="00-frozen-teacher"
check("00-frozen-teacher", ask_teacher)

# %% [markdown] question="00-fair-fight" points=3
# ## 7 · A question in your own words
# No program reads the answers to such questions; a person does. Double-click the cell below, write, and press
# Shift + Enter. Three to six sentences are enough.
#
# **Question.** The table in section 5 shows the teacher ahead of the student. (a) Name two differences
# between the two that could each explain the gap. (b) Describe an experiment that separates them: what do you
# train, and what do you compare? (c) For which outcome would you *not* use distillation, and what would you
# do instead?

# %% [markdown] rubric="00-fair-fight"
# **Model answer.** (a) The teacher has several times more parameters, *and* it saw many more labels (the lengths
# of training differ too, and one run each says nothing about the luck of the seed). (b) Complete the square:
# train the small network on all labels and the large one on the few, each with several seeds and the training
# length chosen on validation, and compare the four mean accuracies with their intervals: one difference along
# each side of the square. (c) If the small network on all labels is as good as the teacher, the gap was one
# of labels: where labels are to be had, training on them is the simpler remedy. Likewise if the large network
# on few labels is as bad as the student: without the labels there would have been no good teacher to learn
# from.
#
# **Rubric (3 points).** 1 for two real differences (size, number of labels, training length); 1 for an
# experiment that changes one of them at a time and repeats it over seeds or gives intervals; 1 for an outcome
# with a simpler remedy than distillation. "The teacher is better" without a difference earns nothing.

# %% [markdown]
# ## 8 · When you are stuck, and where to go
# - *A check stays red.* Read the sentence under the cross: it names the line or the mistake. Each attempt
#   opens a hint.
# - *Nothing makes sense any more.* Kernel menu, **Restart Kernel and Run All Cells**: names that were lost
#   come back.
# - *You want to move on.* Do. `answer` puts the reference in the place of an open TODO and says so.
# - *All checks at once, without a browser.* In a terminal: `labkit check work/00_start_here.ipynb`.
# - *The machine is odd.* `labkit doctor`. Your progress is one small file, `work/progress.json`; `labkit lab`
#   lists it.
#
# **What you should have seen.** The machine is ready; a check told one mistake from another; much of what is
# hard for the student is easy for the teacher; the ten bars were uneven before your repair and level after it.
# In training mode BatchNorm subtracts what the images of a batch have in common, so the answer to one depends on
# its company (and Dropout, where a network has it, drops units at random). The defect was real: the CIFAR-100
# training script of ReviewKD freezes the teacher's parameters and never calls `eval()`.
#
# **Read on.** Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, arXiv 1503.02531: the
# paper that lab 01 rebuilds. Chen et al., *Distilling Knowledge via Knowledge Review* (ReviewKD), arXiv
# 2104.09044: a strong method that lab 04 takes up. Next: `labkit lab 1`.

# %%
rows = []
for name in ("00-top-class", "00-softmax", "00-accuracy", "00-frozen-teacher"):
    mine = record.read().get(name, {"attempts": 0, "passed": None})
    rows.append([name, mine["attempts"], "yes" if mine["passed"] else "not yet"])
Table(["check", "attempts", "passed"], rows, caption="Your progress in this lab")
