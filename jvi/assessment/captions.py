"""What a report says below each table and picture: what it is, and what to look for."""

__all__ = ["CAPTIONS", "LABELS"]

# The one name of each bound, and of what is measured beside them.
LABELS = {
    "vae": "ELBO",
    "elbo": "ELBO",
    "iwae": "IWAE",
    "jvi": "JVI-1",
    "exact": "log p(x)",
    "-KL(q||p)": "\N{MINUS SIGN}KL(q‖p)",
    "ssim": "SSIM",
    "l2-posterior": "L2 error of q(z|x)",
    "l2-prior": "L2 error of p(z)",
}

# Of Pareto k.
LIMIT = "min(1 \N{MINUS SIGN} 1/log₁₀ K, 0.7) (Vehtari et al. 2024)"

CAPTIONS = {
    "bounds": "Mean log-likelihood of the {images}, its standard error as the mean of all such "
    "images, and what fresh samples for these images would change. In expectation ELBO ≤ IWAE ≤ "
    "log p(x); JVI-1 is an estimate and may exceed it.",
    "bits": " In bits per dimension, \N{MINUS SIGN}log₂ p(x) of an image by its number of bytes, "
    "lower is better.",
    "diagnosis": "Pareto k is the shape of the weights' tail, and its limit for K samples is "
    f"{LIMIT}: where many images are above it, expect IWAE and JVI-1 to rise further with K. For "
    "K below 256 some are by the noise of k alone. A unit is active if the mean of q(z|x) has a "
    "variance over images above 0.01.",
    "measures": "\N{MINUS SIGN}KL(q‖p), in nats, is the inference gap: ELBO less log p(x), which "
    "is IWAE where it is not known, image by image. SSIM is the structural similarity (Wang et al. "
    "2004) of images and what is decoded from q(z|x): 1 where they are equal. L2 errors are "
    "Euclidean distances of probabilities from the true ones.",
    "cross": "The model, trained on {trained_on}, on the first test images of each data set, with "
    "standard errors over images: how far it goes beyond what it has seen.",
    "about": "The model, and what it was evaluated on.",
    "settings": "Training settings, as its meta file has them.",
    "curve": "Objective (that of JVI may exceed every bound) and IWAE of validation by epoch: a "
    "validation curve that turns down while training rises is overfitting; one that still rises "
    "at the end was stopped early. The dotted line is the epoch that the parameters are of.",
    "reconstructions": "Test images, each above its reconstruction (means of pixels at the mean of "
    "q(z|x), which are the probabilities of binary ones): look for lost details and for "
    "reconstructions of another class.",
    "samples": "Samples from the prior (means of pixels): where they are unlike test images, "
    "q(z|x) over the data leaves parts of the prior unvisited.",
    "map": "The latent plane decoded at the prior's quantiles, z₁ to the right, z₂ upwards: equal "
    "areas have equal prior probability, so what fills a large area is sampled often.",
    "latent": "Means of q(z|x), with the circles that hold 50% and 95% of the prior: holes inside "
    "and crowds outside are where prior and data disagree.",
    "traversals": "Latent traversals: each row moves one unit through the prior's quantiles 0.05 "
    "to 0.95, starting from the first test image; a row without change is a unit that the decoder "
    "ignores there. Beside each unit the variance of the mean of q(z|x) over images.",
    "likelihoods": "Log-likelihoods image by image, IWAE and JVI-1: a long left tail is of images "
    "that the model has no place for; where the two histograms differ, K is too small for either.",
    "concentration": "Share of the total importance weight that the m largest of K samples carry: "
    "a curve that starts near 1 means that one sample makes the estimate.",
    "ess": "Effective sample size 1 / Σ v² of the normalised weights v: below 2, one sample has "
    "more weight than all others together.",
    "pareto": "Pareto k, the shape of the weights' tail: above its limit (dashed), "
    f"{LIMIT}, larger weights are yet to come, so that a large effective sample size is not to be "
    "believed either.",
    "worst": "The lowest log-likelihoods, each image beside its reconstruction: with a bad one the "
    "model cannot express the image, with a good one the prior or q(z|x) gives it little weight.",
    "lowest": "The lowest log-likelihoods.",
    "unsure": "The estimates least to be trusted, by Pareto k, then by effective sample size "
    f"(ESS): with k above its limit, {LIMIT}, or ESS < 2 the true log p(x) is likely higher.",
    # Of a page on several models.
    "models": "The models, in the order in which they were named.",
    "means": "Mean log-likelihood of the {images} in nats, ± its standard error as the mean of all "
    "such images. Most of that error is the same for all models: compare them above. In "
    "expectation ELBO ≤ IWAE ≤ log p(x); JVI-1 is an estimate and may exceed it.",
    "units": "The same in {unit}, where lower is better.",
    "beside": "\N{MINUS SIGN}KL(q‖p), in nats, is the inference gap, ELBO less IWAE (or log p(x) "
    "where it is known); ESS the mean effective sample size of {samples}; heavy tails the share of "
    f"images with Pareto k above its limit, {LIMIT}. A latent unit is active if the mean of q(z|x) "
    "has a variance over images above 0.01. SSIM is the structural similarity (Wang et al. 2004) "
    "of images and what is decoded from q(z|x).",
    "paired": "Less {reference}, image by image, in nats, ± its standard error over images, which "
    "contains that of the samples. Better or worse: by more than two of these errors, by IWAE; "
    "better on: so many images.",
    "differences": "IWAE less that of {reference}, image by image, from the worst to the best for "
    "each model: where a line crosses zero is the share of images on which {reference} is better.",
    "overlaid": "Log-likelihoods image by image, IWAE: a distribution to the right is better, a "
    "long left tail is of images that the model has no place for.",
    "curves": "IWAE of validation by epoch. It ends where training did; a dot is the epoch that "
    "the parameters are of.",
    "decoded": "Test images {first} to {last} and each model's reconstructions (means of pixels at "
    "the mean of q(z|x)): look for what one loses and another keeps.",
    "drawn": "Samples from the prior of {name}.",
    "apart": "Images on which models differ most, by IWAE in nats. Each picture is the image, then "
    "its reconstructions by {decoders}.",
    "apart-plain": "Images on which models differ most, by IWAE in nats.",
}
