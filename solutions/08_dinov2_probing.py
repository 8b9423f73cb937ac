# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # 08 · Probing DINOv2
#
# Sixty species of small birds, and an expert who labels photographs of them: slow, dear, and soon tired. So there are
# few labels. First, what a network of your own makes of a single one per species.

# %% tags=["setup"]
import tempfile
import time
import warnings

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel
from transformers.utils.logging import disable_progress_bar

import labkit
from labkit import answer, check, data, engine, models, paths, views
from labkit.bench import interval, lab08, read_results
from labkit.views import Table, embedding, show
from labkit.views.curves import plot_curves

profile = labkit.profile()
p = profile.lab(8)
torch.set_num_threads(p.threads)
device = "cuda" if torch.cuda.is_available() else "cpu"
results = read_results("lab08")
disable_progress_bar()
warnings.filterwarnings("ignore", "The number of unique classes")  # at one label per class

# %% tags=["nbval-check-output"]
budgets = sorted({row["per_class"] for row in results.select(experiment="main")})
one, ten = budgets[0], budgets[-2]


def runs(method, per_class, kind=None):
    """What names the committed runs of a method; the probes' of one kind of features."""
    named = {"experiment": "main", "method": method, "per_class": per_class}
    return named | ({"kind": kind or p.kind} if method in ("dinov2", "twin") else {})


gap = [
    ["a network trained from scratch", results.interval(**runs("scratch", one))],
    ["a linear probe on a frozen backbone", results.interval(**runs("dinov2", one))],
]
seeds = {m: len(results.values(**runs(m, one))) for m in ("dinov2", "scratch")}
note = (
    f"Mean ± 95 % interval; {seeds['dinov2']} seeds of a probe, {seeds['scratch']} of a network that trains:"
    f" {results.command}. Ten more labels per species chose C and the checkpoint."
)
print(Table([f"{one} label per species", "test accuracy, %"], gap, note=note))

# %% [markdown]
# The second row learned nothing but one layer. All else comes from a **backbone** that was trained on unlabelled
# photographs of *other* birds, once, by somebody else: here a small DINOv2 of ours, with a GPU the published one.
# Such a backbone is a teacher that you ask for its features instead of its answers. This lab is about asking well,
# and about not fooling yourself with what you get.
#
# **You will be able to**
# - *extract* features with a published backbone: right pictures, right token, right mode, in batches;
# - *fit* a linear probe that keeps its scaler and its test images clean;
# - *draw* few labels so that others can repeat it, and *measure* accuracy over the number of labels;
# - *judge* what a t-SNE map and a picture of principal components can show, and what they can't;
# - *find* a defect in DINOv2's own evaluation code.
#
# **You need** labs 00 and 01 and the outline of a vision transformer: an image is cut into patches, each becomes a
# vector, a **token**. **It takes** 75 to 90 minutes; the computing takes two minutes on a laptop's CPU, about twelve on
# a GPU with the `gpu` profile (CIFAR-10, `facebook/dinov2-base`). Tables over seeds were computed before, on the
# Aviary's birds; each names its command.
#
# **Predict.** With ten labels per species instead of one, both rows above will rise. By how many points will the
# probe lead then, and will it lead at all? Write your guess down; we come back to it.

# %%
my_guess = 40.0  # points of test accuracy at ten labels per species: put your own number here
birds = data.load(seed=0, **p.data)
birds.test = birds.test.few(p.test_per_class, seed=0)
group = [name.split()[-1] for name in birds.classes]  # the family, such as 'reedfinch'
print(birds.describe())

first = [group.index(name) for name in dict.fromkeys(group)][:3]  # the first species of three families
pick = torch.cat([(birds.train.labels == c + i).nonzero()[:2, 0] for c in first for i in (0, 1)])
titles = [" ".join(birds.classes[birds.train.labels[i]].split()[-3:]).replace(" ", "\n") for i in pick]
fig = views.plot_images(birds.train.images[pick], titles, columns=6, size=1.25)
fig.suptitle("One species, two photographs, and its look-alike", fontsize=11)
show(
    fig,
    "Two photographs each of six species from three families: within a family only small parts differ",
)

# %% [markdown]
# **See:** the scene, the light and the pose change from photograph to photograph and say nothing about the species.
# What does, inside a family, is the colour of a part of a few pixels.
#
# ## 1 · Pictures of every kind
# **Why.** People send files, not tensors: scanned plates are grey, icons have a palette, cut-outs are transparent.
# A backbone takes three channels. `picture.convert("RGB")` always gives three, and is sometimes wrong: it *drops* the
# alpha channel, and under transparent pixels a file may keep any colour, mostly black.
#
# **Rules.** Lay the picture on white where it is transparent, in proportion to its alpha $\alpha \in [0, 1]$, then
# convert:
#
# $$ \text{shown} = \alpha \cdot \text{picture} + (1 - \alpha) \cdot \text{white} $$
#
# Transparency hides in several modes: RGBA, LA, and P (a palette, one entry of which may be transparent). Pillow knows
# them all: `picture.has_transparency_data`.
#
# **By hand.** A red pixel $(200, 0, 0)$ with $\alpha = 0.6$: red $0.6 \cdot 200 + 0.4 \cdot 255 = 222$, the other two
# $0.4 \cdot 255 = 102$. `convert` alone would say $(200, 0, 0)$.


# %% exercise="08-rgb" look="section 1, rules"
def to_rgb(picture: Image.Image) -> Image.Image:
    """The picture in mode RGB, on white where it is transparent.

    picture: a Pillow picture of any mode (L, LA, P, RGB, RGBA...).
    Image.new("RGBA", size, "white") makes a white one; Image.alpha_composite(below, above) wants both in RGBA.
    """
    # BEGIN SOLUTION
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")
    # END SOLUTION


# %% check="08-rgb"
check("08-rgb", to_rgb)

# %% answer="08-rgb"
to_rgb = answer("08-rgb", to_rgb)

# %%
# One photograph as four real files, read back twice: by convert alone, and by your function.
photo = birds.test.images[0].permute(1, 2, 0).numpy()
with tempfile.TemporaryDirectory() as folder:
    files = lab08.four_files(photo, folder)  # 'grey', 'palette', 'cut-out' and 'colour' -> a PNG file each
    opened = {name: Image.open(file) for name, file in files.items()}
    versions = [picture.convert("RGB") for picture in opened.values()] + [*map(to_rgb, opened.values())]
titles = [f"{how}\n{name} ({o.mode})" for how in ("convert", "yours") for name, o in opened.items()]
pixels = torch.from_numpy(np.stack(versions)).permute(0, 3, 1, 2)  # (8, 3, H, W)
fig = views.plot_images(pixels, titles, columns=4, size=1.1)
fig.suptitle("convert shows what hides under transparent pixels", fontsize=11)
show(
    fig,
    "Two rows of the same bird: grey, palette, cut-out, colour. Above the cut-out stands on black, below on white",
)

# %% [markdown]
# **See:** only the cut-out differs, and there the upper row shows a picture that nobody ever saw. The published image
# processors convert silently, as in the upper row: so do it yourself, before.
#
# ## 2 · Features in batches
# **Why.** Two objects come with every published backbone. The **processor** knows how the network's images were made:
# resized, cropped, scaled, and with which mean and spread. The **backbone** turns pixels into tokens. The next cell
# loads both exactly as one would load `facebook/dinov2-base`; with the `gpu` profile it does.
#
# **Shapes.** An image of $S \times S$ pixels in patches of $p \times p$ gives $P = (S / p)^2$ patches. In front stand
# one **CLS** token, which belongs to no patch and was trained to stand for the whole image, and, in some
# models, $R$ **register** tokens: $(B, 1 + R + P, D)$ in all.
#
# | | $S$ | $p$ | $P$ | tokens at $R = 0$ |
# |---|---|---|---|---|
# | our miniature | 64 | 8 | $8 \cdot 8 = 64$ | 65 |
# | DINOv2-base | 224 | 14 | $16 \cdot 16 = 256$ | 257 |
#
# **Rules.** Features are asked for, not trained: *eval* mode, or dropout gives other features each time; no
# gradients, or memory fills with graphs that nobody needs. Batches, because a network has a fixed cost per call. The
# output in the order of the images, because the labels are. `last_hidden_state` has passed the final LayerNorm; CLS is
# token 0.

# %%
folder = models.pretrained(profile.self_supervised)  # shipped, or cached from the Hugging Face hub
side = birds.image_size  # published processors enlarge and crop: the images are square, and large enough
own = {"size": {"height": side, "width": side}, "do_center_crop": False}
processor = AutoImageProcessor.from_pretrained(folder, **own)
backbone = AutoModel.from_pretrained(folder).to(device)

inputs = processor(images=[to_rgb(picture) for picture in versions], return_tensors="pt")
print("pixels: ", tuple(inputs["pixel_values"].shape))
with torch.inference_mode():
    print("tokens: ", tuple(backbone(**inputs.to(device)).last_hidden_state.shape))
print("registers:", getattr(backbone.config, "num_register_tokens", 0))
print(f"weights: {sum(w.numel() for w in backbone.parameters()) / 1e6:.1f} million")


# %% exercise="08-extract-cls" look="section 2, rules"
def extract_cls(backbone: nn.Module, processor, images: Tensor, batch_size: int) -> Tensor:
    """CLS tokens (N, D), on the CPU, of uint8 images (N, 3, H, W).

    processor(images=list(batch), return_tensors="pt")["pixel_values"] are the pixels of a batch;
    backbone(pixel_values=...) wants them on backbone.device. images.split(size) gives the batches.
    """
    # BEGIN SOLUTION
    backbone.eval()
    features = []
    with torch.inference_mode():
        for batch in images.split(batch_size):
            pixels = processor(images=list(batch), return_tensors="pt")["pixel_values"]
            tokens = backbone(pixel_values=pixels.to(backbone.device)).last_hidden_state  # (B, 1 + P, D)
            features.append(tokens[:, 0].cpu())
    return torch.cat(features)
    # END SOLUTION


# %% check="08-extract-cls"
check("08-extract-cls", extract_cls)

# %% answer="08-extract-cls"
extract_cls = answer("08-extract-cls", extract_cls)

# %%
# What a batch saves, and what the four files of section 1 are to the backbone.
some = birds.train.images[:64]
for size in (1, len(some)):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        extract_cls(backbone, processor, some, size)
        seconds.append(time.perf_counter() - start)
    print(f"batches of {size:2}: {len(some) / min(seconds):5.0f} images/s")

cls = extract_cls(backbone, processor, pixels, len(pixels))
likeness = torch.cosine_similarity(cls, cls[-1:]).tolist()  # to the colour photograph
for name, by_convert, by_you in zip(files, likeness[:4], likeness[4:], strict=True):
    print(f"{name:8} cosine to the photograph's CLS: {by_convert:.2f} by convert, {by_you:.2f} by you")

# %% [markdown]
# **See:** batches save some of the time on one CPU thread, where every image is work enough, and most of it on a GPU;
# some public lab sheets go image by image. And whatever changes the picture changes the features: a probe trained on colour
# photographs will meet grey ones as strangers.
#
# ## 3 · What to keep of the tokens
# **Why.** CLS is one summary. The mean of the patch tokens is another, which keeps more of what is small and local.
# A linear layer can use both at once. DINOv2's own evaluation tries CLS alone and CLS with the mean patch, of the last
# block and of the last four.
#
# **Formula.** With tokens $t_0, \dots, t_{R+P}$ of an image, each in $\mathbb{R}^D$:
#
# $$ v_{\text{cls}} = t_0, \qquad v_{\text{patches}} = \frac{1}{P} \sum_{i=1}^{P} t_{R + i}, \qquad
#   v_{\text{both}} = (v_{\text{cls}}, v_{\text{patches}}) \in \mathbb{R}^{2D} \tag{1} $$
#
# Registers are scratch paper of the network and belong to no place: leave them out.
#
# **By hand.** $D = 2$, no registers, CLS $(2, 0)$, patches $(1, 1), (3, 1), (5, 4)$: the mean patch is $(3, 2)$, and both
# together are $(2, 0, 3, 2)$. With one register the first of the three would not count: $(4, 2.5)$.


# %% exercise="08-pool" look="section 3, formula (1)"
def pool(tokens: Tensor, kind: str, registers: int = 0) -> Tensor:
    """One vector per image, formula (1).

    tokens: (B, 1 + R + P, D), CLS first, then R registers, then the patches.
    kind: "cls" or "patches" for (B, D), "both" for (B, 2D) with CLS first.
    """
    # BEGIN SOLUTION
    cls = tokens[:, 0]
    patches = tokens[:, 1 + registers :].mean(dim=1)
    return {"cls": cls, "patches": patches, "both": torch.cat([cls, patches], dim=1)}[kind]
    # END SOLUTION


# %% check="08-pool"
check("08-pool", pool)

# %% answer="08-pool"
pool = answer("08-pool", pool)

# %%
# A frozen backbone says the same of an image every time, so ask it once. labkit's FeatureBank does what your loop
# did for a whole split, and keeps the result on disk under a hash of images, weights and code.
frozen = lab08.backbone(profile)  # the same network; takes images in [0, 1], gives CLS and patches apart
encoder = lab08.Pooled(frozen, pool)
x, y = {}, {}
for split in ("train", "val", "test"):
    bank = engine.FeatureBank(encoder, getattr(birds, split), batch_size=p.batch_size)
    x[split], y[split] = {kind: bank.features(kind) for kind in bank.names}, bank.labels
    print(f"{split:5}", ", ".join(f"{kind} {tuple(v.shape)}" for kind, v in x[split].items()))

yours = extract_cls(backbone, processor, birds.train.images[:256], p.batch_size)
assert torch.allclose(yours, x["train"]["cls"][:256], atol=0.02), "your loop and the bank should agree"

# %% [markdown]
# ## 4 · Looking, and what looking proves
# **Patches as colours.** Take the patch tokens of many images and find the three directions in which they vary most
# (their principal components). Paint each patch with its three numbers as red, green and blue: patches that the
# backbone finds alike get the same colour. The last row is a **control**: the same network with random weights.
#
# Such pictures sell papers. Does the trained map really *find the bird*, better than the random one? The Aviary knows
# every bird's outline, so one can count: sort all patches by their first component and ask how well that
# separates bird from background (the area under the ROC curve; 50 is chance, 100 perfect). A third row needs no
# network at all: birds tend to sit in the middle.

# %% tags=["nbval-check-output"]
families = list(dict.fromkeys(group))[:7]
chosen = [int((birds.test.labels == group.index(name)).nonzero()[0]) for name in families]
few, rows = birds.test.few(4, seed=0).images, {}  # `few` decide the components
for name, network in {"DINOv2": frozen, "random\nweights": lab08.backbone(profile, "twin")}.items():
    with torch.inference_mode():
        fit_on, ours = (network.cpu()(x / 255)["patches"] for x in (few, birds.test.images[chosen]))
    rows[name] = embedding.patch_colours(ours, fit_on)
fig = embedding.plot_patches(birds.test.images[chosen], rows, families)
fig.suptitle("Trained patches group into bird and background, random ones by brightness", fontsize=11)
show(
    fig,
    "Seven birds, below them coarse maps of the trained backbone's components, then of a random network's",
)
words = {"dinov2": "DINOv2's first component", "twin": "random weights", "centre": "nearness to the centre"}
rows = [[name, results.interval(experiment="foreground", method=m)] for m, name in words.items()]
note_patches = f"One number each, of the patches of {lab08.LOOKED_AT} test images: {results.command}"
print(Table(["bird or background?", "area under the ROC curve, %"], rows, note=note_patches))

# %% [markdown]
# **See:** the trained network's first component separates bird from background far better than the random one's, and
# no better than a rule that needs no network at all. The picture is true, and it proves less than it seems: for more,
# one would need birds that sit elsewhere.
#
# **A map of the images.** t-SNE places images on a plane so that neighbours in feature space stay neighbours. It has a
# setting, the **perplexity**: roughly, how many neighbours count. Sixty species are too many colours, so the map shows a
# few families, each with a colour *and* a marker, of a seeded draw of images: once of training, once of test images.
#
# **t-SNE is no evidence.** Its axes, distances between clumps and sizes of clumps mean nothing, and its setting decides
# what you see. In the last two maps every feature dimension was shuffled on its own among the test images: no image
# has neighbours any more, there is nothing to find. They differ in the perplexity alone.

# %%
maps = {}  # title -> features, their families, perplexity
for split in ("train", "test"):
    every = [group[label] for label in y[split]]
    rows = embedding.some_groups(every, p.map_groups, p.map_images, seed=0)
    title = f"t-SNE of {len(rows)} {split} images by family, perplexity {p.perplexity}"
    maps[title] = x[split][p.kind][rows], [every[i] for i in rows], p.perplexity
features, shown, _ = maps[title]
generator = torch.Generator().manual_seed(0)
noise = [column[torch.randperm(len(column), generator=generator)] for column in features.T]
for perplexity in (p.perplexity, 2):
    maps[f"Shuffled features, perplexity {perplexity}"] = torch.stack(noise, dim=1), shown, perplexity
for number, (title, (features, shown, perplexity)) in enumerate(maps.items(), start=1):
    fig = embedding.plot_map(embedding.tsne(features, perplexity=perplexity, seed=0), shown, title)
    file = embedding.save(fig, paths.cache() / "figures" / f"lab08-tsne-{number}.png")
    show(fig, f"{title}: points in seven colours and markers, one per family")
    print("saved as", file.name)

# %% [markdown]
# **See:** the first two maps look alike, because the backbone never saw either split; families separate, and whether
# species do, the colours can't say. Noise is an even cloud at the larger perplexity and full of clumps at the smaller:
# the setting made them. The real maps survive this control. What they still can't give is a number, on images that
# nobody used to choose anything.
#
# ## 5 · A linear probe
# **Why.** If one linear layer can read the species off frozen features, then they contain it, in a form that is easy to
# use. The probe has few weights, one optimum, and no luck: the same features give the same probe.
#
# **Formula.** First every feature dimension gets mean 0 and spread 1 *over the training images*:
# $\tilde v = (v - \mu) / \sigma$. Then, with $W$ of shape $(N, D)$ and $b$ of shape $(N)$, minimise
#
# $$ \tfrac{1}{2} \lVert W \rVert^2 + C \sum_{i} \mathrm{CE}\left(W \tilde v_i + b, \; y_i\right) \tag{2} $$
#
# $C > 0$ weighs the labels against the penalty. It is chosen on the **validation** images: the training images always
# want more of it, and the test images are for the report.
#
# **By hand.** A feature with training values 2, 4, 6 has $\mu = 4$ and $\sigma = 1.63$; they become $-1.22, 0, 1.22$, and a
# test image's 10 becomes $3.67$. Fit the scaler on all four and the *training* values become $-1.18, -0.51, 0.17$: the
# test image has changed the probe. And (2): three classes with $\lVert W \rVert^2 = 3$ and one image with cross-entropy
# $0.24$ give $1.5 + 0.024$ at $C = 0.1$ and $1.5 + 2.4$ at $C = 10$.


# %% exercise="08-fit-probe" look="section 5, formula (2)"
def fit_probe(train_x, train_y, val_x, val_y, strengths):
    """The C of `strengths` with the best validation accuracy (the smaller on a tie), and its fitted probe.

    Features (N, D), labels (N,). A probe is make_pipeline(StandardScaler(), LogisticRegression(C=..., max_iter=2000)):
    its .fit(x, y) fits scaler and classifier, its .score(x, y) is the accuracy on other images.
    Returns (C, pipeline).
    """
    # BEGIN SOLUTION
    probes = {}
    for c in sorted(strengths):
        probes[c] = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))
        probes[c].fit(train_x, train_y)
    best = max(probes, key=lambda c: probes[c].score(val_x, val_y))
    return best, probes[best]
    # END SOLUTION


# %% check="08-fit-probe"
check("08-fit-probe", fit_probe)

# %% answer="08-fit-probe"
fit_probe = answer("08-fit-probe", fit_probe)

# %%
rows = []
for kind in ("cls", "patches", "both"):
    c, probe = fit_probe(x["train"][kind], y["train"], x["val"][kind], y["val"], p.strengths)
    scores = [f"{probe.score(x[split][kind], y[split]):.1%}" for split in ("train", "val", "test")]
    rows.append([kind, x["train"][kind].shape[1], f"{c:g}", *scores])
columns = ["features", "dimensions", "C", "train", "validation", "test"]
print(Table(columns, rows, note=f"Probes on all {len(y['train']):,} training images."))
assert probe.score(x["test"][kind], y["test"]) > 5 / len(birds.classes), "far better than chance, surely"

# %% [markdown]
# **See:** the gap between the first and the last column. A linear layer, too, can learn its images by heart.
#
# ## 6 · Few labels
# **Why.** The expert labels three photographs per species. Which three? Another draw gives another accuracy, so a result
# needs several draws; and others must be able to repeat them. Three rules:
#
# - **stratified**: the same number from *every* class. Files lie sorted by class, and the first $N$ files, which some
#   public lab sheets take, are the first few classes and nothing else;
# - **seeded**: the draw depends on the seed alone, through a generator of its own;
# - **nested**: at one seed, the images of a smaller budget are among those of a larger one, so that a curve over the
#   budget adds images instead of exchanging them.
#
# **By hand.** Six images with labels $0, 0, 0, 1, 1, 1$, shuffled by the seed into the order $4, 0, 3, 2, 5, 1$. Class 0
# meets the images $0, 2, 1$ in this order and class 1 the images $4, 3, 5$. One per class: $\{0, 4\}$. Two per class:
# $\{0, 2, 4, 3\}$.


# %% exercise="08-few-labels" look="section 6, the three rules"
def few_labels(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Positions of `per_class` images of every class: stratified, seeded, nested.

    labels: (N,) class numbers, of which every class has at least per_class. Returns (classes * per_class,) int64.
    torch.randperm(n, generator=torch.Generator().manual_seed(seed)) shuffles without touching anything else.
    """
    # BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    chosen = [order[labels[order] == c][:per_class] for c in labels.unique()]
    return torch.cat(chosen)
    # END SOLUTION


# %% check="08-few-labels"
check("08-few-labels", few_labels)

# %% answer="08-few-labels"
few_labels = answer("08-few-labels", few_labels)

# %% [markdown]
# ## 7 · Accuracy over the number of labels
# **Rules.** For every budget and every seed: draw, fit on the drawn images *and their labels*, choose $C$ on the whole
# validation split, score on the whole test split. All seeds are kept, since their spread is the luck of the draw.
# (One thing to say openly: ten validation labels per class stay at every budget, for all methods alike. With truly one
# label per class nothing could be chosen.)


# %% exercise="08-label-efficiency" look="section 7, rules"
def label_efficiency(train, val, test, budgets, seeds, draw, fit) -> Tensor:
    """Test accuracy in [0, 1] of shape (len(budgets), len(seeds)).

    train, val, test: pairs of features (N, D) and labels (N,). draw(labels, per_class, seed) gives positions;
    fit(train_x, train_y, val_x, val_y) gives (C, probe), and probe.score(x, y) an accuracy.
    """
    # BEGIN SOLUTION
    accuracy = torch.zeros(len(budgets), len(seeds))
    for i, per_class in enumerate(budgets):
        for j, seed in enumerate(seeds):
            few = draw(train[1], per_class, seed)
            _, probe = fit(train[0][few], train[1][few], *val)
            accuracy[i, j] = probe.score(*test)
    return accuracy
    # END SOLUTION


# %% check="08-label-efficiency"
check("08-label-efficiency", label_efficiency)

# %% answer="08-label-efficiency"
label_efficiency = answer("08-label-efficiency", label_efficiency)

# %%
sets = [(x[split][p.kind], y[split]) for split in ("train", "val", "test")]
live_budgets = p.budgets[:3]


def fit(*pairs):
    return fit_probe(*pairs, p.strengths)


curve = label_efficiency(*sets, live_budgets, seeds=(0, 1, 2), draw=few_labels, fit=fit)
for per_class, values in zip(live_budgets, curve, strict=True):
    print(
        f"{per_class:3} per class: {interval(values.tolist())} %  ({', '.join(f'{v:.1%}' for v in values)})"
    )
assert curve.mean(1).diff().min() > 0, "more labels should help"

# %% [markdown]
# ## 8 · The experiment
# What would one defend? The probe against networks that train, over the number of labels; every seed draws the labels,
# the initialisation and the order. The controls ask *where* the probe's accuracy comes from:
#
# - a **random twin**: the same backbone with random weights, probed in the same way. What it reaches comes from the
#   architecture and the probe, not from pre-training;
# - **raw pixels**: the images themselves, shrunk, as features;
# - a small **CNN from scratch**, trained on the same labels for a fixed number of steps at every budget;
# - the same CNN **fine-tuned** from weights that were trained with labels on *other* species: whoever owns labels
#   elsewhere can do this;
# - that CNN, **frozen** as it comes, and probed: between it and the fine-tuned one only the training differs, between it
#   and DINOv2 only what the features come from.
#
# First: CLS, mean patch, or both? Each row minus the row of CLS, paired by seed.

# %% tags=["nbval-check-output"]
kinds = {"cls": "CLS", "patches": "mean patch", "both": "both"}
for per_class in (ten, budgets[-1]):
    rows = []
    for kind, name in kinds.items():
        ours, cls = (runs("dinov2", per_class, k) for k in (kind, "cls"))
        rows.append([name, results.interval(**ours), "" if kind == "cls" else results.gain(ours, cls)])
    print(
        Table([f"{per_class} labels per species", "test accuracy, %", "minus CLS, points"], rows), end="\n\n"
    )
print(note)

# %% tags=["nbval-check-output"]
words = {
    "dinov2": "probe of DINOv2", "cnn": "probe of the CNN", "finetuned": "CNN, fine-tuned",
    "scratch": "CNN from scratch", "twin": "probe, random twin", "pixels": "probe of pixels",
}  # fmt: skip
curves = {name: [results.interval(**runs(m, k)) for k in budgets] for m, name in words.items()}
columns = ["labels per species", *map(str, budgets[:-1]), f"{budgets[-1]} (all)"]
rows = [[name, *points] for name, points in curves.items()]
print(Table(columns, rows, caption="Test accuracy, %"), end="\n\n")
pairs = [("dinov2", m) for m in list(words)[1:]] + [("finetuned", "cnn")]
rows = [
    [f"{words[m]} minus {words[control]}", *(results.gain(runs(m, k), runs(control, k)) for k in budgets)]
    for m, control in pairs
]
print(Table(columns, rows, caption="Points of test accuracy, paired by seed", note=note), end="\n\n")
for m in ("scratch", "finetuned"):
    tried = sorted((row["lr"], row["val"]) for row in results.select(experiment="tuning", method=m))
    found = ", ".join(f"{lr:g}: {accuracy:.0%}" for lr, accuracy in tried)
    print(f"{words[m]}, {ten} labels, on validation by learning rate: {found}")
for budget in p.longer["budgets"]:
    more = results.interval(experiment="longer", per_class=budget)
    print(f"{words['scratch']}, {p.longer['steps']} steps, {budget} labels: {more} %")

# %%
ticks = [*map(str, budgets[:-1]), f"{budgets[-1]} = all"]
fig = plot_curves(budgets, curves, xlabel="labels per species (log scale)", ticks=ticks,
                  title="Features from elsewhere need fewer labels here")  # fmt: skip
show(
    fig,
    "Six curves over the labels per species: the two pretrained probes far ahead at one, the fine-tuned CNN from ten on",
)

# Back to your guess.
lead = results.gain(runs("dinov2", ten), runs("scratch", ten))
print(f"you guessed {my_guess:.1f} points; at {ten} labels per species it is {lead}, paired by seed")

# Once live, one seed: it should fall among the table's.
run = lab08.train_network(profile, "scratch", 0, p.per_class, p.scratch_lr)
live = engine.evaluate(run.model, birds.test)
print(f"CNN from scratch, {p.per_class} per class: {live}")
probed = label_efficiency(*sets, [p.per_class], seeds=[0], draw=few_labels, fit=fit).item()
print(f"linear probe, as many labels:  accuracy {probed:.1%}")
assert probed > live.accuracy, "on so few labels the probe should lead"

# %% [markdown]
# **See:** read each curve sideways. How many labels does the CNN from scratch need to reach what the probe had with
# one? (Look twice: its mean never gets there.) Then compare two rows that share their weights at the start: with one
# label, training the CNN ruins what a probe reads off it; with all of them it gains, and the last tables say whether by
# more than the seeds. So *adapting* pays once there are labels enough. (Lab 09 does it with few parameters.)
#
# And compare the two probes: features that were trained with labels, though of *other* species, are a little better here
# than DINOv2's. What speaks for DINOv2 is that it needed no label at all. It is frozen features from elsewhere that win
# at few labels, not self-supervision as such: without this control one would have believed the latter.
#
# And look at the last lines of the tables: at a timid learning rate the control would have looked hopeless and the probe
# a wonder. A comparison is worth as much as the tuning of its weakest row. Both rates were chosen with one seed at ten
# labels and kept for every budget, and both are the largest that was tried: at one label per species the networks may be
# worse than they need be.
#
# From ten labels to all of them the CNN from scratch gains nothing that three seeds could show. The number of steps is
# fixed: is it short of labels there, or of steps? The last two lines answer: with three times the steps it comes, at
# ten labels, into the probes' neighbourhood (and its seeds disagree widely); at three labels more steps change nothing.
# So at ten labels the probe's lead is a lead *at this number of steps*; at three it is one of knowledge.
#
# With all labels nothing is drawn any more, so the probes' intervals over seeds shrink to nothing. That does not
# make them certain: another *test* set would move them by about a point.
#
# ## 9 · Break it: the strength C
# You chose $C$ from a range that was given. Widen the range until the probe breaks, at both ends.

# %%
low, high = p.all_strengths
strengths = [10.0**e for e in range(low, high + 1)]
rows = few_labels(y["train"], p.per_class, seed=0)
train = x["train"][p.kind][rows], y["train"][rows]
probes = {f"C = {c:g}": fit_probe(*train, *sets[1], [c])[1] for c in strengths}
lines = {
    name: [(probe.score(*pair), 0.0) for probe in probes.values()]
    for name, pair in {"training images": train, "validation": sets[1], "test": sets[2]}.items()
}
fig = plot_curves(strengths, lines, xlabel="C (log scale)", ylabel="accuracy", ticks=[f"{c:g}" for c in strengths],
                  title="More C always pleases the training images")  # fmt: skip
show(fig, "Accuracy over C: on training images rising to one, on validation and test to a plateau well below")
nearest = make_pipeline(StandardScaler(), NearestCentroid()).fit(*train)
print(f"the nearest mean of a class, no C at all: test accuracy {nearest.score(*sets[2]):.1%}")

# %% [markdown]
# **See:** the left end is not at chance. As $C \to 0$ the weights shrink, but their *directions* stay: to first order
# each class's row of $W$ points along the mean $m_c$ of its standardised images, so the probe asks for the largest
# $\tilde v \cdot m_c$. A nearest-mean classifier asks for the largest $\tilde v \cdot m_c - \lVert m_c \rVert^2 / 2$;
# without the second term classes with a long mean win too often, and much of the accuracy is lost. With it (the printed
# line) the simplest classifier of all stands beside the tuned probe: it deserves a row in your own tables.
#
# As $C \to \infty$ the training images are separated perfectly. Here the test images hardly suffer from that, which is
# no promise for other features: choose $C$ on validation images and you need not hope.
#
# ## 10 · Find the bug
# DINOv2's public evaluation trains many linear heads at once, for several learning rates and kinds of features, and
# reports the best. The function below does as its code did on the main data set: it runs, and the number is too good.
# `probes` are fitted on training images, `val` and `test` are pairs of features and labels. Mend it.


# %% exercise="08-bug" look="which images choose, and which images judge"
def best_probe(probes, val, test):
    """The name of the best of `probes` (a dict of fitted probes by name), and its accuracy on test images."""
    # BEGIN SOLUTION
    best_name, best_accuracy = "", -1.0
    for name, probe in probes.items():
        accuracy = probe.score(*val)
        if accuracy > best_accuracy:
            best_name, best_accuracy = name, accuracy
    return best_name, probes[best_name].score(*test)
    # END SOLUTION
    # BEGIN PROMPT
    # best_name, best_accuracy = "", -1.0
    # for name, probe in probes.items():
    #     accuracy = probe.score(*test)
    #     if accuracy > best_accuracy:
    #         best_name, best_accuracy = name, accuracy
    # return best_name, best_accuracy
    # END PROMPT


# %% check="08-bug"
check("08-bug", best_probe)

# %%
# What the defect is worth: the probes of section 9, judged on random test sets of several sizes.
hits = torch.stack(
    [torch.from_numpy(probe.predict(sets[2][0])) == y["test"] for probe in probes.values()]
).double()
honest = list(probes).index(
    max(probes, key=lambda name: probes[name].score(*sets[1]))
)  # chosen on validation
generator, sizes, flattery = torch.Generator().manual_seed(0), [30, 100, 300, 1000], []
for size in sizes:
    draws = [hits[:, torch.randperm(hits.shape[1], generator=generator)[:size]].mean(1) for _ in range(300)]
    lucky = torch.stack([scores.max() - scores[honest] for scores in draws])
    flattery.append((100 * lucky.mean().item(), 0.0))
fig = plot_curves(sizes, {f"best of {len(probes)}": flattery}, xlabel="test images (log scale)",
                  ylabel="too good by, points", title="A test set that chooses flatters, a small one most")  # fmt: skip
fig.axes[0].set_ylim(0)
fig.axes[0].yaxis.set_major_formatter("{x:g}")
show(
    fig, "A falling curve: several points too good on thirty test images, a fraction of a point on a thousand"
)

# %% [markdown]
# **See:** on thirty images the luckiest of the probes looks several points better than the honest choice; on a
# thousand, a fraction of a point. The more you try and the fewer the images, the more you flatter yourself.

# %% [markdown] question="08-q-cls" points=2
# **Question 1.** Why does one read features off the CLS token at all, and not off some patch? What does the mean patch
# do for the probe in the first tables of section 8, and what in the training of *our* miniature could be the reason
# (see "How honest is our miniature?" below)? Why may it be otherwise for the published DINOv2?

# %% [markdown] rubric="08-q-cls"
# **Model answer.** CLS belongs to no place: through attention it gathers from all patches, and the loss on whole images was
# applied to *it*, asking that the views of a bird agree there; a patch token describes its own place first. Here the mean
# patch alone is worse than CLS, and both together are no better than CLS: quote the paired differences with their
# intervals. Our miniature was trained by losses on CLS alone, so nothing ever asked its patch tokens to separate birds,
# and twice the dimensions cost a probe with few labels. DINOv2 also trains its patch tokens (masked patches, iBOT's
# loss), and its mean patch then adds what is small and local.
#
# **Rubric.** 1 point: CLS is what the image-level loss trained, and it attends to all patches. 1 point: quotes a paired
# difference *with* its interval and names the missing loss on patches (or the number of dimensions).

# %% [markdown] question="08-q-labels" points=4
# **Question 2.** (a) Which of the six methods needs more labels than the others, and how do you read that off the
# figure? Which method would you take at one label per species, and which with all of them? Why does the fixed number of
# training steps matter for this reading? (b) Name two situations in which you would *not* probe a frozen backbone, and
# say what you would measure to find out.

# %% [markdown] rubric="08-q-labels"
# **Model answer.** (a) Draw a horizontal line: where each curve crosses it, its labels can be read. The CNN from
# scratch crosses far to the right, since it must learn what a bird looks like *and* the species from the labels, while
# probe and fine-tuned CNN bring the former along. The random twin hardly rises at all: more labels don't help where the
# features lack the information. At one label the two probes of pretrained networks lead, the CNN's by a little if
# somebody had labels elsewhere; with all of them the fine-tuned CNN does, and since the probe of the same CNN stays
# behind, it is the adapting that pays. All trained networks take the same number of steps at every budget; with a fixed
# number of *epochs* the small budgets would get fewer updates, and one would take a lack of steps for a lack of labels.
#
# (b) For instance: the images are unlike those of pre-training (X-rays, other sensors, our miniature on real
# photographs): compare the probe with a random twin and with pixels on your data, and with fine-tuning on the same
# labels; labels are plentiful: measure whether the fine-tuned curve has overtaken the probe's; the detail that matters
# is smaller than a patch or is thrown away by the pre-training's augmentations (colour, orientation): probe for it
# directly; the backbone is too slow or too large for the device: measure latency and memory (lab 02), and distil; the
# backbone may have seen the test images.
#
# **Rubric.** (a) 1 point: reads the figure sideways, names the CNN from scratch, and says that the best method changes
# with the budget. 1 point: with fixed epochs small budgets would also be undertrained. (b) 1 point each for a situation
# with a concrete measurement that reveals it.

# %% [markdown]
# ## What you should have seen
# - Right features take care: three channels without surprises, the model's own processor, eval mode, CLS at index 0,
#   batches in order.
# - With few labels a linear layer on frozen features beats a network trained on the same labels, even one that starts
#   from pretrained weights; the random twin shows that pre-training is what it lives on, and the CNN's probe that
#   pre-training with labels elsewhere serves as well. With more labels, adapting the features overtakes reading them.
# - A t-SNE map at a small perplexity finds clumps in noise; a picture of components needs a control before it means anything.
# - Scaler, $C$, kind of features: whatever is chosen is part of the method, and the test images choose nothing.
#
# **How honest is our miniature?** It was trained without a label, a name or any benchmark species, by self-distillation
# as DINO does it, cut down to minutes. One help goes beyond DINO: its two views are two *photographs* of the same bird,
# in another pose, light and scene, as a burst of shots or a ring on a leg would give. So it was told what may change
# while the bird stays the same, which is much of what a probe with one label per species needs. It has DINO's loss on the
# CLS token (and a contrastive one beside it), but not DINOv2's loss on masked patches. And it is at home in this world: on
# real photographs it knows little (`benchmarks/probe_photos.py` measures it).
#
# ## What the paper reports
# Oquab et al. (2023), ImageNet-1k, frozen features at 224 px:
#
# | backbone | parameters | k-NN, % | linear probe, % |
# |---|---|---|---|
# | ViT-S/14 | 21 M | 79.0 | 81.1 |
# | ViT-B/14 | 86 M | 82.1 | 84.5 |
# | ViT-L/14 | 300 M | 83.5 | 86.3 |
# | ViT-g/14 | 1 100 M | 83.5 | 86.5 |
#
# Caveats: the linear heads were chosen, among dozens, on the images that judge them (section 10), which is worth
# little on 50 000 of them and a paper on a few hundred (for its other test sets the code fixes the head that this
# choice named); single runs; the smaller three were
# distilled from the largest; the 142 million training images were gathered by likeness to known data sets, ImageNet's
# among them.
#
# ## Read on
# - Oquab et al., *DINOv2*, arXiv 2304.07193: the backbone; figure 1 is the picture of section 4.
# - Darcet et al., *Vision transformers need registers*, arXiv 2309.16588: why some tokens had to get a place to scribble.
# - Kornblith, Shlens, Le, *Do better ImageNet models transfer better?*, arXiv 1805.08974: probes against fine-tuning on
#   twelve data sets, with logistic regression done properly.
# - Wattenberg, Viégas, Johnson, *How to use t-SNE effectively*, doi 10.23915/distill.00002: play with noise yourself.
