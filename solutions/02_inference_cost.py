# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 02 · What inference costs
#
# A network is trained once and asked millions of times. The asking is what distillation makes cheaper, so before you
# distil anything you need a number for it. Getting one looks easy: start a clock, call the network, stop the clock.

# %% tags=["setup"]
import statistics
import time
from itertools import chain, product

import torch
from IPython.display import display
from torch import nn

import labkit
import labkit.views.latency as draw
from labkit import answer, check
from labkit.bench import interval, read_results
from labkit.bench.lab02 import batch_sweep, conditions, devices, patient, published, roofs, synchroniser
from labkit.bench.layers import by_kind, conv_layers
from labkit.bench.pretend import PretendDevice, PretendNet
from labkit.models import build, cost
from labkit.views import Table, show

# %%
s = labkit.profile().lab(2)
all_threads = torch.get_num_threads()  # what torch would take
torch.set_num_threads(s.threads)
models = {net: build(f"torchvision/{net}", num_classes=1000) for net in s.nets}
image = torch.rand(s.input_size)  # (1, 3, 224, 224), values in [0, 1]

first = {s.big: [], s.small: []}
for net, _ in product(first, range(12)):
    start = time.perf_counter()
    models[net](image)
    first[net].append(1e3 * (time.perf_counter() - start))
show(draw.plot_first_runs(first), "Two wavering lines: milliseconds of twelve calls of each ResNet.")

# %% [markdown]
# Twelve honest readings of each network, and they disagree: the first call pays extra, and the others never settle on
# one value. Nor did they measure inference: the networks stood in training mode and recorded gradients, and on a GPU
# the same code would have measured something else altogether.
#
# **When you are done you can**
# - *count* a network's multiply-accumulates and bytes by hand, and *say* which names for them differ by a factor of two;
# - *write* a timer that is right on a CPU and on a GPU, and *summarise* what it gives by median and 95th percentile;
# - *explain* why fewer multiply-accumulates can take longer;
# - *choose* a network from a plot of accuracy against latency, and *spot* a published speed-up that cannot be trusted.
#
# **You need** lab 00 and the idea of a convolution. **It takes** 60 to 75 minutes of yours and about two of the
# computer's, with a GPU or without. All times are measured live, on your machine; one table was measured in advance,
# undisturbed, and stands beside yours. The networks have *random weights*: the same multiplications are done
# whatever the numbers are, so latency does not depend on them, and nothing needs to be downloaded. Accuracy does
# depend on them; it is read from what torchvision publishes with its weights.
#
# **Predict.** ResNet-50 will be the teacher of lab 03 and ResNet-18 its student; MobileNetV3-small was designed for
# phones. The next cell shows their sizes. On one thread of *your* CPU, how many times faster than ResNet-50 will the
# two small ones answer? Write down two numbers before you go on; the last code cell of the lab compares.

# %%
for net in (s.big, s.small, s.nets[-1]):
    facts = published(net, s.weights)
    print(
        f"{net:20} {facts.parameters / 1e6:5.1f} million parameters {facts.gmacs:7.3f} x 10^9 multiply-accumulates"
    )

my_guess = {s.small: 2.0, s.nets[-1]: 20.0}  # times faster than ResNet-50: put in your own

# %% [markdown]
# ## 1 · Count: multiply-accumulates
# The first answer needs no clock. Nearly all the work of a CNN is of one kind: multiply a weight by a pixel, add the
# product to a sum. One such pair is a **multiply-accumulate**, a MAC. For one convolution on one image:
#
# - input: $C_{in}$ channels of $H \times W$ pixels; $k \times k$ kernel, stride $s$, padding $p$, and $g$ groups;
# - output: $C_{out}$ channels of $H_{out} \times W_{out}$ numbers, where
#
# $$H_{out} = \left\lfloor \frac{H + 2p - k}{s} \right\rfloor + 1 \qquad \text{(1), and the same for } W_{out}$$
#
# - each of those numbers is a sum over one kernel window in the $C_{in}/g$ input channels that its group sees:
#
# $$\text{MACs} = H_{out} \, W_{out} \, C_{out} \cdot \frac{C_{in}}{g} \, k^2 \qquad (2)$$
#
# **By hand.** $C_{in}=2$ channels of $5 \times 4$ pixels, $C_{out}=4$, $k=3$, $s=2$, $p=1$:
# $H_{out} = \lfloor 4/2 \rfloor + 1 = 3$ and $W_{out} = \lfloor 3/2 \rfloor + 1 = 2$.
#
# | | $H_{out} W_{out}$ | $C_{out}$ | $C_{in}/g$ | $k^2$ | MACs |
# |---|---|---|---|---|---|
# | all channels together, $g = 1$ | 6 | 4 | 2 | 9 | 432 |
# | each channel alone, $g = 2$ (**depthwise**) | 6 | 4 | 1 | 9 | 216 |
# | $1 \times 1$ kernel, $s = 1$, $p = 0$ (**pointwise**) | 20 | 4 | 2 | 1 | 160 |
#
# A bias adds, but multiplies nothing: by convention it is not counted. A warning on names: counted apart, a MAC is
# two floating-point operations, **2 FLOPs**. Papers often write "FLOPs" and mean MACs; torchvision's tables do.


# %% exercise="02-conv-macs" look="section 1, formulas (1) and (2)"
def conv_macs(c_in, c_out, height, width, kernel, stride, padding, groups):
    """Multiply-accumulates of one convolution on one image; all arguments and the result are whole numbers.

    height, width: of the input. The kernel is square; stride and padding are the same in both directions.
    """
    # BEGIN SOLUTION
    out_height = (height + 2 * padding - kernel) // stride + 1
    out_width = (width + 2 * padding - kernel) // stride + 1
    return out_height * out_width * c_out * (c_in // groups) * kernel**2
    # END SOLUTION


# %% check="02-conv-macs"
check("02-conv-macs", conv_macs)

# %% answer="02-conv-macs"
conv_macs = answer("02-conv-macs", conv_macs)

# %%
macs = {}
for net, model in models.items():
    macs[net] = {"linear": sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))}
    for layer in conv_layers(model, s.input_size):  # every convolution, in the order they run
        macs[net][layer.kind] = macs[net].get(layer.kind, 0) + conv_macs(*layer.sizes)
    ours, theirs = sum(macs[net].values()) / 1e9, published(net, s.weights).gmacs
    print(f"{net:20} your count {ours:.3f} x 10^9 MACs, torchvision publishes {theirs:.3f} 'GFLOPS'")
    assert abs(ours - theirs) < 0.03 * theirs + 0.001
show(
    draw.plot_shares(macs),
    "Stacked bars: ResNet-18 is k x k, mobile networks are mostly 1 x 1 with a little depthwise.",
)

# %% [markdown]
# Your function, summed over all layers, reproduces what torchvision publishes (and shows that its "GFLOPS" are MACs).
# In the picture, see *how* the mobile networks save: they replace the $k \times k$ convolutions that mix everything
# by
# $1 \times 1$ ones that mix channels and depthwise ones that look around. The depthwise share is so small that you
# would not think of it again. Remember it anyway.
#
# ## 2 · Count: bytes
# A network must also fit. Two things lie in memory: its **weights**, always, and its **activations**, while an image
# passes. For the weights, sum over all tensors $t$ of the model, parameters *and* buffers:
#
# $$\text{bytes} = \sum_{t} n_t \, b_t \qquad (3)$$
#
# where $n_t$ is how many numbers tensor $t$ holds and $b_t$ the bytes of each: 4 for float32, 2 for float16, 8 for
# int64.
#
# **By hand.** A `Linear(3, 2)` followed by a `BatchNorm1d(2)`:
#
# | | weight 2 x 3 | bias 2 | BatchNorm: scale 2, shift 2 | running mean 2, variance 2 | counter 1 (int64) | bytes |
# |---|---|---|---|---|---|---|
# | float32 | 24 | 8 | 16 | 16 | 8 | 72 |
# | after `.half()` | 12 | 4 | 8 | 8 | 8 | 40 |
#
# The last two columns are **buffers**: BatchNorm's statistics are not learned by gradients, but they are there. Count
# what is in memory, `model.parameters()` and `model.buffers()`, each tensor once, even where two layers share it. (A
# file made from `state_dict()` can differ: it names shared tensors twice and may leave buffers out.)


# %% exercise="02-model-bytes" look="section 2, formula (3)"
def model_bytes(model):
    """Bytes of all parameters and buffers of an nn.Module, each in its own precision: a whole number.

    A tensor t has t.numel() numbers of t.element_size() bytes; chain(a, b) walks through a and then b.
    """
    # BEGIN SOLUTION
    tensors = chain(model.parameters(), model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    # END SOLUTION


# %% check="02-model-bytes"
check("02-model-bytes", model_bytes)

# %% answer="02-model-bytes"
model_bytes = answer("02-model-bytes", model_bytes)

# %%
costs = {
    net: cost(model, s.input_size) for net, model in models.items()
}  # labkit's counter, activations included
for net, model in models.items():
    assert model_bytes(model) == costs[net].weight_bytes
show(
    draw.plot_memory(costs),
    "Pairs of bars per network: the weights shrink from top to bottom, the activations do not.",
)

# %% [markdown]
# Compare the two colours. Weights shrink from network to network, activations do not follow: MobileNetV2 needs as
# much room for passing an image through as ResNet-50 does. (The orange bar is the most that is alive at one moment;
# labkit's networks keep four feature maps for later labs, which are included.) Weights are paid once, activations
# once per image of the batch. float16 would halve both.
#
# ## 3 · Time: a clock you can trust
# Now the clock. On a GPU the obvious code fails in a way you cannot see: calling the network only **hands over** the
# work; Python goes on while the device computes. You may not have a GPU, so here is a *pretend accelerator*. It
# computes nothing, but keeps time by the same rules, exactly, and on every machine alike. **By hand**: handing over
# takes 1 ms, the work 8 ms, one call follows the other:
#
# | call | clock starts | work handed over | device begins | device done | the clock says | the answer took |
# |---|---|---|---|---|---|---|
# | 1 | 0 | 1 | 1 | 9 | **1** | 9 |
# | 2 | 1 | 2 | 9 | 17 | **1** | 16 |
# | 3 | 2 | 3 | 17 | 25 | **1** | 23 |
#
# The clock says the same small number forever, and the answers come later and later: the queue grows. The same thing
# in code, with two more habits of real hardware: the first calls are *cold* (memory is allocated, kernels are
# chosen), and training mode and gradients cost extra.


# %%
def naive(model, image, runs, clock):
    """Milliseconds of each run, as one would first write it."""
    times = []
    for _ in range(runs):
        start = clock()
        model(image)
        times.append(1e3 * (clock() - start))
    return times


device = PretendDevice()
net = PretendNet(device, work_ms=8.0)  # one inference, warm: 1 ms to hand over and 8 ms of work
print(
    "reported:", [round(t, 1) for t in naive(net, image, 4, device.clock)], "ms; right:", net.answer_ms, "ms"
)
title, alt = (
    "The clock is read while the device still works",
    "All readings come long before the work is done.",
)
show(draw.plot_timeline(device, title), alt)

# %% [markdown]
# All eight triangles stand at the far left: the clock was read for the last time when the device had hardly begun. A
# timer you can trust does four things more.
#
# 1. **Evaluation mode**, so that Dropout and BatchNorm behave as in use: `model.eval()`.
# 2. **No gradients**: everything inside `with torch.inference_mode():`.
# 3. **Warm-up**: some calls that are not timed.
# 4. **Synchronise**: `synchronise()` waits until the device has done all it was given. It is needed *before* the first
#    reading (nothing of earlier calls may be under way) and *before* the second (the answer must be there), in every run.
#
# A clock for short times counts steadily and finely: `time.perf_counter()`, which gives seconds; `time.time()` may
# jump.


# %% exercise="02-timer" look="section 3, the four points above this cell"
def time_runs(model, image, runs, warmup, synchronise, clock):
    """Milliseconds of each of `runs` inferences, one at a time, after `warmup` untimed ones: a list of floats.

    model: an nn.Module in any mode; model(image) is one inference.
    synchronise(): returns when the device has finished everything.
    clock(): the time in seconds.
    """
    # BEGIN SOLUTION
    model.eval()
    times = []
    with torch.inference_mode():
        for _ in range(warmup):
            model(image)
        for _ in range(runs):
            synchronise()
            start = clock()
            model(image)
            synchronise()
            times.append(1e3 * (clock() - start))
    return times
    # END SOLUTION


# %% check="02-timer"
check("02-timer", time_runs)

# %% answer="02-timer"
time_runs = answer("02-timer", time_runs)

# %%
device = PretendDevice()
net = PretendNet(device, work_ms=8.0)
yours = time_runs(net, image, 4, 2, device.synchronise, device.clock)
print("reported:", [round(t, 1) for t in yours], "ms; right:", net.answer_ms, "ms")
title, alt = (
    "Each clock starts on an empty queue and stops at the answer",
    "One reading on either side of each work.",
)
show(draw.plot_timeline(device, title), alt)

# %% [markdown]
# The cold calls lie in front of the first triangle, and between two triangles there is exactly one answer. Now the
# real networks: the same timer, the real clock, and on a CPU nothing to wait for, because a call returns when it is
# done. The two ResNets get 100 runs each, four more networks fewer.

# %%
wait, clock = synchroniser("cpu"), time.perf_counter
runs = {net: [] for net in s.nets}
for _, net in product(range(s.turns), s.nets):  # in turns: a busy moment hits all of them alike
    count = s.runs if net in (s.big, s.small) else s.friend_runs
    runs[net] += time_runs(models[net], image, count, s.warmup, wait, clock)

ratio = statistics.median(runs[s.big]) / statistics.median(runs[s.small])
print(f"{len(runs[s.big])} runs each: ResNet-50 takes {ratio:.1f} times as long as ResNet-18.")
print(conditions(s.threads))
assert 1.3 < ratio < 5  # wide on purpose: other programs run beside this one

# %% [markdown]
# ## 4 · Summarise: mean, median, p95
# A list of times is not an answer. The **mean** is moved by a single hiccup; the **median** tells the typical run;
# the **95th percentile**, p95, tells what one run in twenty exceeds, which is what people complain about. Sort the
# times,
# $t_0 \le t_1 \le \dots \le t_{n-1}$ (a list of $n$ numbers). The $q$-th percentile sits at position $r$, and between
# two times one interpolates:
#
# $$r = \frac{q}{100}\,(n - 1), \qquad P_q = t_{\lfloor r \rfloor} + (r - \lfloor r \rfloor)\,
# \bigl(t_{\lfloor r \rfloor + 1} - t_{\lfloor r \rfloor}\bigr) \qquad (4)$$
#
# **By hand.** Five times, sorted: 30, 31, 32, 33, 90 ms. The mean is 43.2, slower than four of the five. The median
# is 32. For $q = 95$: $r = 0.95 \cdot 4 = 3.8$, so $P_{95} = 33 + 0.8 \cdot (90 - 33) = 78.6$. The habit "mean plus
# two standard deviations" gives 95.6, slower than anything that happened: latencies have a floor and a tail, not a
# bell.


# %% exercise="02-percentile" look="section 4, formula (4)"
def percentile(times, q):
    """The q-th percentile of a list of n times in any order, 0 <= q <= 100, by linear interpolation: a float."""
    # BEGIN SOLUTION
    ordered = sorted(times)
    position = q / 100 * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
    # END SOLUTION


# %% check="02-percentile"
check("02-percentile", percentile)

# %% answer="02-percentile"
percentile = answer("02-percentile", percentile)


# %%
def summary(times):
    return {"median": percentile(times, 50), "mean": statistics.fmean(times), "p95": percentile(times, 95)}


main = {net: runs[net] for net in (s.big, s.small)}
marks = {net: summary(times) for net, times in runs.items()}
show(
    draw.plot_latencies(main, {net: marks[net] for net in main}),
    "Single runs as dots with median, mean and p95.",
)

columns = [
    "network",
    "median ms",
    "mean",
    "p95",
    "10⁹ MACs",
    "10⁶ parameters",
    "weights MB",
    "activations MB",
]
lines = [
    [draw.look(net)[0], *(f"{value:.1f}" for value in marks[net].values()), f"{c.macs / 1e9:.2f}",
     f"{c.parameters / 1e6:.1f}", f"{c.weight_mb:.1f}", f"{c.activation_mb:.1f}"]
    for net, c in costs.items()
]  # fmt: skip
display(Table(columns, lines, caption=f"Live, one image {tuple(s.input_size)}", note=conditions(s.threads)))

# %% [markdown]
# On an idle machine the dots crowd together and a few stragglers pull the mean to the right of the median; on a busy
# one they spread, and p95 moves away. The work is the same in every run: what differs is other programs, the
# operating system and the clock rate. How many of the digits you see would another evening repeat? The next table
# says so for one machine, whose rounds were measured again whenever another program interfered: mean and 95 %
# interval over rounds.

# %% tags=["nbval-check-output"]
stored = read_results("lab02")


def cell(net, threads):
    middle = stored.interval("median", experiment="latency", net=net, threads=threads)
    return f"{middle.mean:.1f} ± {middle.half:.1f}"


lines = [[draw.look(net)[0], cell(net, 1), cell(net, 2)] for net in s.nets]
print(Table(["median ms", "1 thread", "2 threads"], lines, note=f"{stored.command} ({stored.machine})"))
medians = {n: stored.values("median", experiment="latency", net=n, threads=1) for n in (s.big, s.small)}
factor = interval([a / b for a, b in zip(medians[s.big], medians[s.small], strict=True)])
print(f"ResNet-50 takes {factor.mean:.2f} ± {factor.half:.2f} times as long as ResNet-18 on one thread.")

# %% [markdown]
# **Threads and devices.** A latency without its number of threads says little. Two threads at best halve the time. Look
# at the table: the ResNets come near that, the smallest networks gain almost nothing, because at the end of *every*
# layer the threads wait for each other, and a small layer is over before the waiting pays. On a busy machine, where a
# thread may have to wait for its turn, two can even be several times slower than one. So this lab uses one and says so.
# If you have an accelerator, it is timed here too: `labkit.models.latency`, which the next cell uses, is your timer
# with some bookkeeping. Expect another order there: with one image most of a GPU is idle, the time goes into handing
# over layer after layer, and so the *number* of layers counts for more than their size.

# %%
places = [(net, {"threads": n}) for net in (s.small, s.nets[-1]) for n in sorted({1, 2, all_threads})]
places += [(net, {"device": name}) for net in (s.big, s.small, s.nets[-1]) for name in devices()[1:]]
lines = []
for net, place in places:
    found = patient(models[net], s.thread_runs, s.thread_seconds, **place)
    where = found.device + (f", threads: {found.threads}" if "threads" in place else "")
    lines.append([draw.look(net)[0], where, len(found.times), f"{found.median:.1f}", f"{found.p95:.1f}"])
display(Table(["network", "where", "runs", "median ms", "p95 ms"], lines, note=conditions(s.threads)))

# %% [markdown]
# ## 5 · Why multiply-accumulates don't tell the time
# You have two prices for each network: multiply-accumulates and milliseconds. If one followed from the other, you
# could put the clock away.

# %%
gmacs = {net: costs[net].macs / 1e9 for net in s.nets}
ms = {net: marks[net]["median"] for net in s.nets}
show(draw.plot_macs_latency(gmacs, ms, s.small), "ms over MACs: mobile networks lie above ResNet-18's line.")
per_mac = [ms[net] / gmacs[net] for net in s.nets]
assert max(per_mac) > 1.5 * min(per_mac)

# %% [markdown]
# The dashed line is where a network would lie if its MACs were as quick as ResNet-18's. The mobile networks lie above
# it: they save multiply-accumulates, and then do the ones they keep more slowly. Which ones, and why?
#
# A processor is quick when it can use a number again and again once it has fetched it. For one layer compare the work
# with the traffic, its **arithmetic intensity**:
#
# $$I = \frac{\text{MACs}}{4\,(C_{in} H W + C_{out} \tfrac{C_{in}}{g} k^2 + C_{out} H_{out} W_{out})}
# \quad \text{MACs per byte: input, weights and output once each, float32} \qquad (5)$$
#
# **By hand.** 64 channels of $28 \times 28$ in and out, so 50 176 numbers each way:
#
# | layer | MACs | weights | bytes | $I$ |
# |---|---|---|---|---|
# | $3 \times 3$, all channels | 28 901 376 | 36 864 | 548 864 | 52.7 |
# | $1 \times 1$ | 3 211 264 | 4 096 | 417 792 | 7.7 |
# | $3 \times 3$ depthwise | 451 584 | 576 | 403 712 | 1.1 |
#
# The depthwise layer moves nearly the same bytes as the others and does next to no work with them. Now measure it:
# the time spent in each kind of layer, per multiply-accumulate.

# %%
points = []
for model in models.values():
    for kind, found in by_kind(model, conv_macs, s.kind_runs).items():
        points.append((kind, found["macs"] / found["bytes"], found["macs"] / found["ms"] / 1e6))
show(
    draw.plot_rates(points, *roofs()),
    "MAC rate over MACs per byte: depthwise at the lower left, the others near the top.",
)

rate = {
    kind: statistics.median(r for k, _, r in points if k == kind) for kind in ("k x k", "1 x 1", "depthwise")
}
print("10^9 MAC per second:", ", ".join(f"{kind}: {value:.1f}" for kind, value in rate.items()))
assert rate["depthwise"] < 0.7 * rate["1 x 1"]

# %% [markdown]
# One dot is one kind of layer in one network. The grey line is the best this machine can do: flat where it multiplies
# as fast as it can, sloping where it waits for memory (both measured just now). The more a layer does with each byte,
# the quicker its MACs are done, and the depthwise layers, which do the least, are at the lower left. They stay below
# even the slope, so memory is not all: a small layer is called at the same overhead as a large one, and what re-uses
# nothing cannot become a matrix product, which is what processors and their libraries do best. Another runtime or
# chip moves these dots. That is the point: **count MACs to understand a network, but measure on the machine it will
# run on.**
#
# ## 6 · Choose: the Pareto front
# Which network is best? That has no answer, as long as speed and accuracy have no common unit. What can be said:
# network
# $j$ with latency $\ell_j$ and accuracy $a_j$ **dominates** network $i$ if
#
# $$\ell_j \le \ell_i \;\text{ and }\; a_j \ge a_i \;\text{ and }\; (\ell_j < \ell_i \;\text{ or }\; a_j > a_i) \qquad (6)$$
#
# Nobody needs a dominated network. The others form the **Pareto front**. **By hand**:
#
# | network | A | B | C | D |
# |---|---|---|---|---|
# | ms | 10 | 12 | 15 | 15 |
# | % | 60 | 58 | 70 | 65 |
# | dominated by | - | A, faster and better | - | C, as fast and better |
#
# The front is A, C. As positions in the lists `[10, 12, 15, 15]` and `[60, 58, 70, 65]`: `[0, 2]`.


# %% exercise="02-pareto" look="section 6, definition (6)"
def pareto_front(latency, accuracy):
    """Positions of the networks that no other dominates, from the fastest to the slowest: a list of ints.

    latency, accuracy: lists of n numbers; entry i of both belongs to network i. No two networks agree in both.
    """

    # BEGIN SOLUTION
    def dominates(j, i):
        no_worse = latency[j] <= latency[i] and accuracy[j] >= accuracy[i]
        return no_worse and (latency[j] < latency[i] or accuracy[j] > accuracy[i])

    points = range(len(latency))
    front = [i for i in points if not any(dominates(j, i) for j in points)]
    return sorted(front, key=lambda i: latency[i])
    # END SOLUTION


# %% check="02-pareto"
check("02-pareto", pareto_front)

# %% answer="02-pareto"
pareto_front = answer("02-pareto", pareto_front)

# %%
facts = {net: published(net, s.weights) for net in s.nets}
front = [
    s.nets[i] for i in pareto_front([ms[net] for net in s.nets], [facts[net].accuracy for net in s.nets])
]
spread = {net: (ms[net], min(runs[net]), marks[net]["p95"]) for net in s.nets}
accuracy = {net: (fact.accuracy, fact.half) for net, fact in facts.items()}
newer = (s.big, published(s.big, s.newer_weights).accuracy)
show(draw.plot_pareto(spread, accuracy, front, newer), "Accuracy over latency; steps join the front.")
print("On the front, fastest first:", ", ".join(draw.look(net)[0] for net in front))

# %% [markdown]
# Latency is yours, accuracy is torchvision's (weights `IMAGENET1K_V1`, 50 000 validation images, hence the small
# vertical bars; each was trained by its own recipe, so a point's height is not the architecture's alone). See the
# open marker: the *same* ResNet-50, trained later with a better recipe, straight above the old one. Its latency
# cannot have changed. This is the one move that costs nothing at inference, and it is what this course is about:
# **choosing another network moves along the front; distillation lifts a point straight up.** Points whose bars
# overlap are a draw, whatever the front says. And the front belongs to this device: if the ResNets are beaten here,
# on one CPU thread, they may return where dense convolutions are at home, on a GPU. They stay the course's standard
# pair because so much has been measured on them.
#
# ## 7 · Break it: the batch
# So far one image at a time. A server may wait until $B$ images have come and send them together. Roughly
# $\ell(B) = c + dB$: some cost $c$ per call, some cost $d$ per image, hence $B / \ell(B)$ images per second. **By hand**,
# $c = 6$ ms and $d = 2$ ms: at $B = 1$, 8 ms and 125 images/s; at $B = 8$, 22 ms and 364 images/s; never more than 500.
# Each image now waits for the whole batch. Move the slider to both ends; the dashed line is a deadline after which an
# answer is worthless.

# %%
sweeps = {net: batch_sweep(models[net], s.batches, s.batch_runs) for net in (s.small, s.nets[-1])}
show(
    draw.plot_batches(sweeps, s.deadline_ms),
    "Latency rises with the batch; throughput rises only for the small network.",
)
for net, rows in sweeps.items():
    fitting = [row for row in rows if row["ms"] <= s.deadline_ms] or rows[:1]
    gain = fitting[-1]["images_per_s"] / rows[0]["images_per_s"]
    print(
        f"{net}: batch {fitting[-1]['batch']} still meets {s.deadline_ms} ms, {gain:.1f} times the images/s of one"
    )
    assert rows[-1]["ms"] > 2 * rows[0]["ms"]
draw.batch_slider(sweeps, s.deadline_ms)

# %% [markdown]
# At the left end nothing waits and the fixed cost is paid for every image; at the right end throughput has stopped
# growing and only the waiting grows. See which network gains: the one whose fixed cost was a large part of its time.
# A large network on one CPU thread is busy with a single image already, and a batch buys it little or nothing. A GPU,
# idle for the most part with one image, gains far more. So *latency* and *throughput* are two questions with two
# answers, and the batch size belongs beside every number.
#
# ## 8 · Find the bug
# A student network is compared with its teacher, the way a widely used lab sheet averages latency. Published tables
# have been made like this too: in [one correction](https://github.com/anglixjtu/msg_chn_wacv20/pull/9) the author of
# a paper agrees that the reported time was too short; in [one thread](https://github.com/haofeixu/aanet/issues/22)
# timing without waiting is kept, so as to compare with earlier work. Nothing in the code is wrong; three things are
# missing. Which, and where? Mend it and check it. The check runs your version on a pretend accelerator on which the
# first *three* calls of each network are cold.


# %% exercise="02-find-bug" look="section 3: the four points, of which one is there"
def speedup(teacher, student, image, runs, device):
    """How many times sooner the student answers: mean latency of the teacher / mean latency of the student.

    One request at a time: the next is sent when the answer to the last is there.
    device has .clock() in seconds and .synchronise().
    """
    # BEGIN SOLUTION
    mean = []
    with torch.inference_mode():
        for model in (teacher, student):
            model.eval()
            for _ in range(5):
                model(image)
            device.synchronise()
            start = device.clock()
            for _ in range(runs):
                model(image)
                device.synchronise()
            mean.append((device.clock() - start) / runs)
    return mean[0] / mean[1]
    # END SOLUTION
    # BEGIN PROMPT
    # mean = []
    # with torch.inference_mode():
    #     for model in (teacher, student):
    #         start = device.clock()
    #         for _ in range(runs):
    #             model(image)
    #         mean.append((device.clock() - start) / runs)
    # return mean[0] / mean[1]
    # END PROMPT


# %% check="02-find-bug"
check("02-find-bug", speedup)

# %% [markdown] question="02-when-not" points=3
# **Question.** When should the number of this lab, the median latency of single images on your own machine, *not*
# decide which network is used? Describe two situations that differ in kind. For each, name the measurement that
# should decide instead, with its device, its statistic and its load.

# %% [markdown] rubric="02-when-not"
# One point for each situation with a fitting measurement (device, statistic, load all named), one more if the two
# differ in kind. Good answers: (a) *another device*: it will run on a phone, a GPU or in another runtime (int8, fused
# layers); measure there, with that runtime, since ratios between networks change with the hardware (section 5). (b)
# *many images, nobody waiting*: indexing an archive overnight; throughput, or images per joule or per currency unit,
# at the best batch. (c) *a promise to users or a control loop*: p95, p99 or the worst case under the real load with
# its queue, not the median of an undisturbed loop. (d) *the network is not the bottleneck*: decoding, resizing and
# transfer take longer; measure from request to answer. (e) *memory or energy is the limit*: peak memory, joules per
# image. "When accuracy matters more" alone is no situation: no point.

# %% [markdown] question="02-review" points=3
# **Question.** You review a paper: "Our student has 0.3 GFLOPs against the teacher's 4.1, so it is 14 times faster.
# On our GPU 1000 forward passes took 2.1 s, hence 2.1 ms per image." Name three things you need to know before you
# believe either number, and say for each in which direction it could mislead.

# %% [markdown] rubric="02-review"
# One point for each item with a reason *and* a direction; three of: (a) FLOPs or MACs for both networks: mixed
# conventions shift the ratio by two either way. (b) Which kinds of layers: depthwise ones take more time per MAC, so
# a ratio of MACs promises too much. (c) Synchronised before the last reading? If not, the time is too short, and more
# so for the larger network. (d) Warm-up: without it the mean is too long, and whichever network ran first suffers.
# (e) Batch size: 2.1 ms "per image" of a batch is inverse throughput; the latency is longer. (f) Loop without waiting
# for each answer: throughput again, too short for latency. (g) Mean only: hides the tail. (h) Evaluation mode,
# gradients, precision, threads, clock rate: stated and equal for both?

# %%
for net, guess in my_guess.items():
    promised, measured = gmacs[s.big] / gmacs[net], ms[s.big] / ms[net]
    print(f"{draw.look(net)[0]} answers {measured:.1f} times faster than ResNet-50 on one thread.")
    print(f"  You guessed {guess:g}; the multiply-accumulates promise {promised:.1f}.")

# %% [markdown]
# ## What you should have seen
# - The first calls are slower than all others; a GPU timed without waiting reports the time of handing over.
# - ResNet-18 is about as much faster than ResNet-50 as its MACs promise: both are built from the same kinds of layers.
#   MobileNetV3-small is faster still, but by far less than its MACs promise.
# - Depthwise layers: a few per cent of the MACs, several times dearer each.
# - On one CPU thread a batch helps the small network and hardly the large one.
#
# If two of your medians are closer than their own run-to-run spread, you have measured a draw. More runs narrow the
# interval of the median, but not the machine's mood between morning and evening: measure in turns, close other
# programs.
#
# ## What the papers report
# The MobileNet authors' own table (README of `tensorflow/models`, `research/slim/nets/mobilenet`): ImageNet top-1,
# and milliseconds on one large core of a Pixel 1 phone with TF-Lite, float, one image.
#
# | network | 10⁶ MACs | top-1 % | ms | ms per 10⁸ MACs |
# |---|---|---|---|---|
# | MobileNetV2 x 1.4 | 582 | 75.0 | 138.0 | 23.7 |
# | MobileNetV2 | 300 | 71.8 | 73.8 | 24.6 |
# | MobileNetV2 x 0.5 | 97 | 65.4 | 28.7 | 29.6 |
# | MobileNetV3-large | 217 | 75.2 | 51.2 | 23.6 |
# | MobileNetV3-large "minimalistic" | 209 | 72.3 | 44.1 | 21.1 |
# | MobileNetV3-small | 66 | 67.5 | 15.8 | 23.9 |
#
# Read the last column: on *one* phone core, in *one* runtime, within *one* family, milliseconds follow MACs closely.
# That is the other half of the truth, and why MACs are popular. Caveats: TF-Lite fuses layers; the accuracies are of
# the authors' own training, and their counts differ a little from torchvision's for the same name. The "minimalistic"
# network does without squeeze-and-excite, hard-swish and 5 x 5 kernels; its authors find it less efficient on CPUs
# and much more performant on GPUs and other accelerators. None of these times is comparable with yours.
#
# ## Read on
# - arXiv 1807.11164, ShuffleNetV2: MACs as an *indirect* metric; four rules for networks that are fast, not just small.
# - arXiv 1905.02244, MobileNetV3: a network searched for on the phone's own clock.
# - arXiv 2110.12894, *The Efficiency Misnomer*: how parameters, FLOPs and speed contradict each other.
# - arXiv 1911.02549, *MLPerf Inference*: how an industry agreed on what to time: four scenarios, tails included.
# - arXiv 2003.13678, RegNet: networks with the same FLOPs, several times faster on GPUs.
