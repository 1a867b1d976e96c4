"""What a shell can say to the commands: for each line the exit status, and the words of a refusal.

Lines run in a folder with two models, "m" (of the original's kind) and "b" (another), files of data
and things that only look like models. A line that is refused changes nothing there.
"""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from jvi.scripts import bayesnet, convert, demo, evaluate, inspect_model, jvicount, report, train

MAIN = {
    "train": train.main,
    "evaluate": evaluate.main,
    "report": report.main,
    "convert": convert.main,
    "inspect": inspect_model.main,
    "jvicount": jvicount.main,
    "demo": demo.main,
    "bayesnet": bayesnet.main,
}
USED = "-e 1 -b 2000 --opt adam --nhidden 4 --nlatent 2 --quiet"  # of runs that succeed

# What is no whole number, for an option of each command that takes one.
NOT_WHOLE = ("many", "''", "1_000", "' 3'", "+3", "0x10", "1.5", "1e3", "nan", "٣", "\uff13", "--")
WHOLE = (
    "train -e {}",
    "train -b {}",
    "train --vae-samples {}",
    "train --seed {}",
    "evaluate -s {} m",
    "evaluate -r {} m",
    "report --images {} m",
    "demo -e {}",
)
NOT_REAL = ("fast", "nan", "inf", "-inf", "1e400", "1_0.0", "' 1'", "+1", "0x1p3", "1,5", "1e", ".")
REAL = ("train --lr {}", "evaluate -E ais --ais-sigma {} m")

NUMBERS = [
    *((line.format(text), 2, "must be a whole number, not|is empty|requires argument")
      for line in WHOLE for text in NOT_WHOLE),
    *((line.format(text), 2, "must be a number, not") for line in REAL for text in NOT_REAL),
]  # fmt: skip

TRAIN = [
    (f"train {USED} -o new", 0, ""),
    (f"train {USED} -o deep/er/new/", 0, ""),
    (f"train {USED} -o b --overwrite", 0, ""),
    (f"train {USED} -o new --vis new.dot", 0, ""),
    (f"train {USED} -o new --lr .001", 0, ""),
    (f"train {USED} -o new --schedule iwae", 0, ""),
    (f"train {USED} -o new --schedule constant:lr=.001 --clip none", 0, ""),
    (f"train {USED} -o new --clip 0".replace("adam", "adam:eps=1e-4,beta2=0.99"), 0, ""),
    (f"train {USED} -o new --preset nowozin2018 -d digits --vae-samples 2", 0, ""),
    ("train --list-presets", 0, ""),
    ("train --list-presets --preset burda2016", 2, "unknown, given twice, or not to be combined"),
    ("train --preset burda", 2, "unknown preset 'burda': choose from burda2016, rainforth2018"),
    ("train --preset ''", 2, "--preset is empty"),
    ("train --preset burda2016 --data-dir nowhere", 1, "data folder nowhere does not exist"),
    ("train --preset burda2016 -o m", 1, "exists: choose another -o"),
    (
        "train --preset burda2016 --lr 1e-3",
        2,
        "--lr: the schedule iwae says .*: write iwae:lr=1e-3",
    ),
    ("train --preset burda2016 --estimator dregg", 2, "--estimator: unknown estimator 'dregg'"),
    ("train --preset burda2016 --estimator elbo --vae-type vae", 2, "not both"),
    ("train --preset burda2016 --nhidden 5", 2, "--nhidden is mlp's hidden"),
    ("train --schedule cosine", 2, "unknown schedule 'cosine': choose from constant, decay, iwae"),
    ("train --schedule ''", 2, "--schedule is empty"),
    ("train --schedule iwae:epochs=7", 2, "iwae:epochs must be at least 8"),
    ("train --schedule iwae:epochs=x", 2, "iwae:epochs must be a whole number"),
    ("train --schedule iwae:rate=1", 2, "schedule iwae has no option 'rate': it has epochs, lr"),
    ("train --schedule iwae --lr 1e-3", 2, "--lr: the schedule iwae says the learning rate"),
    ("train --schedule constant:lr=0", 2, "constant:lr must be positive"),
    ("train --schedule constant:lr=1 --lr 1", 2, "write constant:lr=1"),
    ("train --opt adam:eps=0", 2, "--opt: adam:eps must be positive"),
    ("train --opt adam:beta1=1", 2, "--opt: adam:beta1 must be at least 0 and below 1"),
    ("train --opt sgd:eps=1", 2, "--opt: optimizer sgd has no option 'eps': it has none"),
    ("train --clip -1", 2, "--clip must be at least 0, not -1"),
    ("train --clip no", 2, "--clip must be a number, not 'no'"),
    ("train --clip ''", 2, "--clip is empty"),
    (f"train {USED} -o new --vae-type jvi --vae-samples 3 --jvi-order 2 --jvi-raw", 0, ""),
    (f"train {USED} -o new --estimator jvi:order=1 --vae-samples 2", 0, ""),
    (f"train {USED} -o new -d data.npz", 0, ""),
    ("train --list-models", 0, ""),
    ("train --list-estimators", 0, ""),
    ("train --help", None, ""),
    ("train --no-such-option", 2, "--no-such-option: unknown"),
    ("train -z", 2, "-z: unknown"),
    ("train -e", 2, "-e requires argument"),
    ("train --epochs", 2, "--epochs requires argument"),
    ("train -e 1 -e 2", 2, "--epochs: unknown, given twice"),
    ("train m", 2, "'m': a word too many"),
    ("train --quiet=yes", 2, "--quiet must not have an argument"),
    ("train --list-models -e 1", 2, "--list-models: unknown, given twice, or not to be combined"),
    ("train --fancy", 2, "--fancy names a model variant"),
    ("train -e 0", 2, "--epochs must be at least 1, not 0"),
    ("train -e -5", 2, "--epochs must be at least 1, not -5"),
    ("train -e 99999999999999999999", 2, "--epochs must be at most 1000000000, not 9999"),
    ("train -e 1000000001", 2, "--epochs must be at most"),
    ("train -b 99999999999999999999", 2, "--batchsize must be at most"),
    ("train -b 0", 2, "--batchsize must be at least 1"),
    ("train --vae-samples 1000001", 2, "--vae-samples must be at most 1000000"),
    ("train --seed -1", 2, "--seed must be at least 0"),
    ("train --seed 9223372036854775808", 2, "--seed must be at most 9223372036854775807"),
    (f"train {USED} -o new --seed 9223372036854775807", 0, ""),
    ("train --lr 0", 2, "--lr must be positive"),
    ("train --lr -1", 2, "--lr must be positive"),
    ("train --lr 1e-400", 2, "--lr must be positive"),
    ("train -g -2", 2, "--device must be at least -1"),
    ("train -g 0", 1, "GPU 0 cannot be used"),
    ("train -g x", 2, "--device must be a whole number"),
    ("train --opt lbfgs", 2, "--opt: unknown optimizer 'lbfgs': choose from"),
    ("train --vae-type foo", 2, "--vae-type: unknown VAE type 'foo': choose from"),
    ("train --vae-type ''", 2, "--vae-type is empty"),
    ("train --vae-type jvi", 2, "jackknife order 1 needs --vae-samples 2 or more"),
    ("train --vae-type jvi --vae-samples 2 --jvi-order 2", 2, "needs --vae-samples 3"),
    (
        "train --vae-type jvi --jvi-order 17 --vae-samples 20",
        2,
        "--jvi-order must be at most 16, not 17",
    ),
    ("train --jvi-order 2", 2, "--jvi-order has no effect here: it is for --vae-type jvi and"),
    ("train --vae-type iwae++ --jvi-order 2 --vae-samples 4", 2, "--jvi-order has no effect"),
    ("train --jvi-raw", 2, "--jvi-raw has no effect here: it is for --vae-type iwae"),
    ("train --estimator dreg --jvi-raw", 2, "--jvi-raw has no effect"),
    ("train --estimator dreg --jvi-order 2", 2, "--jvi-order has no effect"),
    ("train --estimator iwae --vae-type iwae", 2, "give --estimator or --vae-type, not both"),
    ("train --estimator nonsense", 2, "--estimator: unknown estimator 'nonsense': choose from"),
    ("train --estimator jvi:order=x", 2, "--estimator: jvi:order must be a whole number"),
    ("train --estimator jvi:order=٣", 2, "jvi:order must be a whole number"),
    ("train --estimator jvi:order=1_0", 2, "jvi:order must be a whole number"),
    ("train --estimator jvi:order=99999999999", 2, "jvi:order must be at most"),
    ("train --estimator jvi:depth=1", 2, "--estimator: estimator jvi has no option 'depth'"),
    ("train --estimator jvi:order=1,order=2", 2, "each key once"),
    ("train --estimator jvi:", 2, "jackknife order 1 needs"),
    ("train --estimator ''", 2, "--estimator is empty"),
    (f"train {USED} -o new --estimator ciwae:beta=learned --vae-samples 2", 0, ""),
    (f"train {USED} -o new --anneal kl=0:1:2 --free-bits .1", 0, ""),
    ("train --estimator ciwae:beta=learnt", 2, 'ciwae:beta must be a number or "learned"'),
    ("train --estimator ciwae:beta=2", 1, "ciwae:beta must be between 0 and 1"),
    ("train --estimator reinforce:baseline=x", 1, 'baseline must be "none" or "learned"'),
    ("train --anneal kl=0:1", 2, "--anneal: 'kl=0:1': write OPTION=START:END:EPOCHS"),
    ("train --estimator iwae --anneal alpha=0:1:2", 1, "iwae cannot anneal 'alpha': it has kl"),
    ("train --estimator rws --anneal kl=0:1:2", 1, "no gradient for a weighted KL part"),
    ("train --free-bits -1", 2, "--free-bits must be at least 0"),
    ("train --estimator iwae --free-bits 1", 1, "of the ELBO's KL divergence, not of iwae"),
    ("train --model mlp --estimator reinforce:baseline=learned --free-bits 1", 1, "free bits"),
    ("train --on-nan hope", 2, '--on-nan must be "stop" or "skip"'),
    ("train --model nonsense", 2, "--model: unknown model 'nonsense'"),
    ("train --model mlp:hidden=0", 2, "--model: mlp:hidden must be at least 1"),
    ("train --model mlp:hidden=1e3", 2, "--model: mlp:hidden must be a whole number"),
    ("train --model mlp:hidden=99999999999", 2, "--model: mlp:hidden must be at most"),
    ("train --model mlp:hidden=", 2, "--model: mlp:hidden must be a whole number"),
    ("train --model burda:layers=3 --estimator iwae", 2, "--model: burda:layers must be 1 or 2"),
    ("train --model burda --nhidden 5", 2, "--nhidden is mlp's hidden"),
    ("train --model mlp:hidden=5 --nhidden 5", 2, "--nhidden is mlp's hidden"),
    ("train --model mlp:latent=5 --nlatent 5", 2, "--nlatent is mlp's latent"),
    ("train --nhidden 0", 2, "--nhidden must be at least 1"),
    ("train --nlatent x", 2, "--nlatent must be a whole number"),
    ("train --model sbn:layers=1,units=5 --estimator iwae", 1, "choose an estimator for discrete"),
    ("train --model sbn:layers=1,units=5", 1, "the analytic KL divergence|differentiated"),
    ("train -d msrc12", 2, "--dataset: unknown data set 'msrc12'"),
    ("train -d nowhere.npz", 1, "nowhere.npz does not exist"),
    ("train --estimator jvi:order=17 --vae-samples 20", 2, "the largest order is 16, not 17"),
    ("train -d .", 1, ". is a folder: name a file in it"),
    ("train -d ./folder", 1, "folder is a folder: name a file in it"),
    ("train -d text.npz", 1, "text.npz is not an .npz, .npy or idx file"),
    ("train -d ''", 2, "--dataset is empty"),
    ("train -d mnist --data-dir nowhere", 1, "data folder nowhere does not exist"),
    ("train -d mnist --data-dir text.npz", 1, "data folder text.npz is a file"),
    ("train -d mnist --data-dir data", 1, "train-images-idx3-ubyte"),
    ("train --data-dir ''", 2, "--data-dir is empty"),
    ("train -o ''", 2, "-o is empty"),
    ("train -o .", 2, "-o '.' names no model"),
    ("train -o ..", 2, "names no model"),
    ("train -o /", 2, "names no model"),
    ("train -o a/..", 2, "names no model"),
    ("train -o m", 1, "exists: choose another -o"),
    ("train -o m/", 1, "exists: choose another -o"),
    ("train -o ./folder/../m", 1, "exists: choose another -o"),
    ("train -o link", 1, "exists: choose another -o"),
    ("train -o text.npz", 1, "text.npz is not a folder: choose another -o"),
    ("train -o text.npz/m", 1, "text.npz is not a folder: choose another -o"),
    ("train -o odd --overwrite", 2, "odd.perf is no ordinary file: choose another -o"),
    ("train -o taken --overwrite -d ./taken.perf", 2, "-o: .*taken.perf is a file of the data"),
    ("train -o data/mnist/m --data-dir data -d mnist", 2, "is a file of the data"),
    ("train --vis ''", 2, "--vis is empty"),
    ("train -o new --vis text.npz", 1, "--vis: text.npz exists"),
    ("train -o new --vis nowhere/g.dot", 1, "--vis: nowhere is no folder"),
    ("train -o new --vis folder", 1, "--vis: folder is a folder"),
    ("train -o new --vis g.dot/", 1, "--vis: g.dot/ is a folder"),
    ("train -o new --vis fifo --overwrite", 1, "--vis: fifo is no ordinary file"),
    ("train -o new --vis new.perf", 2, "--vis: new.perf is a file of the model"),
    ("train -o m --overwrite --vis m/log", 2, "--vis: m/log is a file of the model"),
    ("train -o m --overwrite --vis hard", 2, "--vis: hard is a file of the model"),
    ("train -o new -d data.npz --overwrite --vis data.npz", 2, "--vis: .*is a file of the data"),
    ("train -o new -d data.npz --overwrite --vis ./folder/../data.npz", 2, "file of the data"),
]

RESUME = [
    ("train --resume m -o new -e 3 --quiet", 0, ""),
    ("train --resume m/ -o new -e 3 --quiet", 0, ""),
    ("train --resume m -e 2", 0, ""),
    ("train --resume m -e 1 -o new", 0, ""),
    ("train --resume m/snapshot_latest -o new -e 3 --quiet", 0, ""),
    ("train --resume m/snapshot_bestvalobj -o new -e 4 --quiet", 0, ""),
    ("train --resume b -o new -e 2 --model burda --quiet", 0, ""),
    ("train --resume ''", 2, "--resume is empty"),
    ("train --resume nowhere", 1, "nowhere: no model there"),
    ("train --resume folder", 1, "folder: no model there"),
    ("train --resume m -e 0", 2, "--epochs must be at least 1"),
    ("train --resume m -e x", 2, "--epochs must be a whole number"),
    ("train --resume m -o b", 1, "exists: choose another -o"),
    ("train --resume m -o ''", 2, "-o is empty"),
    ("train --resume m -o ..", 2, "names no model"),
    ("train --resume m --seed 5", 2, "--seed 5 does not fit m, trained with 0"),
    ("train --resume m --opt sgd", 2, "--opt sgd does not fit m, trained with adam"),
    ("train --resume m --preset burda2016", 2, "--preset is for a new model"),
    ("train --resume m --schedule cosine", 2, "--schedule: unknown schedule 'cosine'"),
    ("train --resume m --schedule iwae --lr 1", 2, "--lr: the schedule iwae says"),
    ("train --resume m -o new -e 3 --quiet --schedule iwae", 0, ""),
    ("train --resume m -o new -e 3 --quiet --schedule constant --lr .1 --clip 1", 0, ""),
    ("train --resume m --nhidden 5", 2, "--nhidden 5 does not fit m, trained with 4"),
    ("train --resume m --nlatent 5", 2, "--nlatent 5 does not fit"),
    ("train --resume m -d mnist", 2, "--dataset mnist does not fit m, trained with digits"),
    ("train --resume m --vae-type vae", 2, "--vae-type vae does not fit m, trained with jvi"),
    ("train --resume m --model burda", 2, "--model burda does not fit m, which is mlp:"),
    ("train --resume m --model mlp:hidden=5", 2, "does not fit m, which is mlp:"),
    ("train --resume b --vae-type iwae", 2, "--vae-type"),
    ("train --resume b --jvi-order 2", 2, "--jvi-order has no effect"),
    ("train --resume b --nhidden 5", 2, "--nhidden"),
    ("train --resume m/snapshot_bestvalobj -e 3", 2, "is not the latest of m: name another place"),
    ("train --resume m.h5 -e 3 -o new", 1, "m.h5: not a trainer's snapshot"),
    ("train --resume m -e 3 -o new --vis m/log", 2, "--vis: m/log is a file of the model"),
    ("train --resume odd_meta -e 3 -o new", 1, "odd_meta.meta.yaml: --vae-samples must be a whole"),
    ("train --resume list_meta -e 3 -o new", 1, r"list_meta.meta.yaml: --seed is .*: correct it"),
]

EVALUATE = [
    ("evaluate -s 4 m", 0, ""),
    ("evaluate -s 4 m/", 0, ""),
    ("evaluate -s 4,8 -E vae,iwae,jvi --jvi-order 1,2 m", 0, ""),
    ("evaluate -s 4 -E elbo b", 0, ""),
    ("evaluate -s 4 --images 5 -E ais --ais-temps 3 --ais-steps 2 m", 0, ""),
    ("evaluate -s 4 --images 5 --bdmc --ais-temps 3 --ais-steps 2 m", 0, ""),
    ("evaluate -s 4 --table t --logw w.mat --per-image i.npz --resultfile r m", 0, ""),
    ("evaluate -s 4 --bootstrap m", 0, ""),
    ("evaluate -s 4 --resultfile results m", 0, ""),
    ("evaluate -s 4 --overwrite m", 0, ""),
    ("evaluate -s 4 --data-dir nowhere m", 0, ""),
    ("evaluate -s 4 --images 5 -m ssim,active-units m", 0, ""),
    ("evaluate -s 4 --images 5 -m active-units b", 0, ""),
    ("evaluate -s 4 --images 5 -d digits,digits.npz --table t m", 0, ""),
    ("evaluate -m psnr m", 2, "--measures: unknown measure 'psnr': choose from ssim, active-"),
    ("evaluate -m ssim, m", 2, "--measures: unknown measure ''"),
    ("evaluate -m '' m", 2, "--measures is empty"),
    ("evaluate -m ssim,ssim m", 2, "--measures has ssim twice"),
    ("evaluate -m l2-errors m", 1, "--measures l2-errors needs the distances"),
    ("evaluate -d digits,digits m", 2, "--dataset has digits twice"),
    ("evaluate -d digits, m", 2, "--dataset has a name missing"),
    ("evaluate -d digits,msrc12 m", 2, "--dataset: unknown data set 'msrc12'"),
    ("evaluate -d digits,nowhere.npz m", 1, "nowhere.npz does not exist"),
    ("evaluate -d digits,data.npz m", 1, "data.npz: images have shape"),
    ("evaluate -d digits,digits.npz --logw w.mat m", 2, "--logw is of one data set"),
    ("evaluate -d digits,digits.npz --per-image w.npz m", 2, "--per-image is of one data set"),
    ("evaluate -d digits,digits.npz --resultfile digits.npz m", 2, "is a file of the data"),
    ("evaluate", 2, "an argument is missing"),
    ("evaluate m b", 2, "'b': a word too many"),
    ("evaluate ''", 2, "<modelprefix> is empty"),
    ("evaluate -x m", 2, "-x: unknown"),
    ("evaluate nowhere", 1, "nowhere: no model there"),
    ("evaluate -E ivae m", 2, "unknown evaluation 'ivae'"),
    ("evaluate -E '' m", 2, "--eval is empty"),
    ("evaluate -E iwae,iwae m", 2, "--eval has iwae twice"),
    ("evaluate -E jvi -s 1 m", 2, "order 1 needs more than 1 samples"),
    ("evaluate -E jvi-17 -s 64 m", 2, "--eval: jvi-M must be at most 16, not 17"),
    ("evaluate -E jvi-٣ -s 64 m", 2, "--eval: jvi-M must be a whole number"),
    ("evaluate -E jvi --jvi-order 17 -s 64 m", 2, "--jvi-order must be at most 16"),
    ("evaluate -s 10000001 m", 2, "--samples must be at most 10000000"),
    ("evaluate -s 4,4 m", 2, "--samples has 4 twice"),
    ("evaluate -s 4, m", 2, "--samples must be a whole number, not ''"),
    ("evaluate -s 4;8 m", 2, "--samples must be a whole number"),
    ("evaluate -r 0 m", 2, "--reps must be at least 1"),
    ("evaluate -b 0 m", 2, "--batchsize must be at least 1"),
    ("evaluate -g -2 m", 2, "--device must be at least -1"),
    ("evaluate -g 3 m", 1, "GPU 3 cannot be used"),
    ("evaluate --images 0 m", 2, "--images must be at least 1"),
    ("evaluate --images 301 m", 1, "--images 301: digits has only 300 test images"),
    ("evaluate --seed x m", 2, "--seed must be a whole number"),
    ("evaluate --jvi-order 2 m", 2, '--jvi-order has no effect here: it is for "jvi" in --eval'),
    ("evaluate -E jvi --jvi-order x m", 2, "--jvi-order must be a whole number"),
    ("evaluate -E jvi --jvi-order 2,2 -s 4 m", 2, "--jvi-order has 2 twice"),
    ("evaluate --ais-temps 10 m", 2, '--ais-temps has no effect here: it is for "ais" in --eval'),
    ("evaluate --ais-steps 10 m", 2, "--ais-steps has no effect"),
    ("evaluate --ais-prior m", 2, "--ais-prior has no effect"),
    ("evaluate --ais-sigma 2 m", 2, "--ais-sigma has no effect"),
    ("evaluate --ais-chains 2 m", 2, "--ais-chains has no effect"),
    ("evaluate --ais-schedule linear m", 2, "--ais-schedule has no effect"),
    ("evaluate --ais-stepsize .1 m", 2, "--ais-stepsize has no effect"),
    ("evaluate -E ais --ais-chains 0 m", 2, "--ais-chains must be at least 1"),
    ("evaluate -E ais --ais-temps 0 m", 2, "--ais-temps must be at least 1"),
    ("evaluate -E ais --ais-sigma 0 m", 2, "sigma must be positive"),
    ("evaluate -E ais --ais-schedule cosine m", 2, "unknown schedule 'cosine'"),
    ("evaluate -E vae b", 1, "vae needs the KL divergence"),
    ("evaluate -d msrc12 m", 2, "--dataset: unknown data set"),
    ("evaluate -d nowhere.npz m", 1, "nowhere.npz does not exist"),
    ("evaluate -d data.npz m", 1, "images have shape"),
    ("evaluate -d mnist --data-dir nowhere m", 1, "data folder nowhere does not exist"),
    ("evaluate --logw '' m", 2, "--logw is empty"),
    ("evaluate --table '' m", 2, "--table is empty"),
    ("evaluate --resultfile text.npz m", 1, "--resultfile: text.npz holds other things"),
    ("evaluate --resultfile b/log m", 1, "--resultfile: b/log holds other things"),
    ("evaluate --resultfile folder m", 1, "--resultfile: folder is a folder"),
    ("evaluate --resultfile fifo m", 1, "--resultfile: fifo is no ordinary file"),
    ("evaluate --resultfile nowhere/r m", 1, "--resultfile: nowhere is no folder"),
    ("evaluate --resultfile text.npz/r m", 1, "--resultfile: text.npz is no folder"),
    ("evaluate --logw text.npz m", 1, "--logw: text.npz exists"),
    ("evaluate --logw folder m", 1, "--logw: folder is a folder"),
    ("evaluate --logw w.mat/ m", 1, "--logw: w.mat/ is a folder"),
    ("evaluate --logw dangling m", 1, "--logw: dangling is no ordinary file"),
    ("evaluate --logw dangling --overwrite m", 1, "--logw: dangling is no ordinary file"),
    ("evaluate --logw fifo --overwrite m", 1, "--logw: fifo is no ordinary file"),
    ("evaluate --logw /dev/null --overwrite m", 1, "--logw: /dev/null is no ordinary file"),
    ("evaluate --table old m", 1, "--table: old.json exists"),
    ("evaluate --logw t.json --table t m", 2, "t.json is named for two outputs"),
    ("evaluate --logw a --per-image ./folder/../a m", 2, "named for two outputs"),
    ("evaluate --logw a --resultfile a m", 2, "a is named for two outputs"),
    ("evaluate --logw folder/a --per-image linked/a m", 2, "named for two outputs"),
    ("evaluate --logw old.json --per-image oldhard --overwrite m", 2, "named for two outputs"),
    ("evaluate -d digits.npz --logw digits.npz --overwrite m", 2, "is a file of the data"),
    ("evaluate -d ./digits.npz --logw digitshard --overwrite m", 2, "is a file of the data"),
    ("evaluate -d digits.npz --resultfile ./folder/../digits.npz m", 2, "is a file of the data"),
    ("evaluate --data-dir data --logw data/mnist/new m", 2, "is a file of the data"),
    ("evaluate --data-dir data --logw data/mine --overwrite m", 2, "is a file of the data"),
    ("evaluate --data-dir data --logw images --overwrite m", 2, "is a file of the data"),
]

# Every file of a model, by every option that writes one.
GUARDED = ("m.meta.yaml", "m.perf", "m.h5", "m.safetensors", "m/log", "m/snapshot_latest",
           "m/snapshot_bestvalobj", "./folder/../m.perf", "link/log", "linked.perf",
           "hard")  # fmt: skip
OPTIONS = ("evaluate --logw {} --overwrite m", "evaluate --per-image {} --overwrite m/",
           "evaluate --resultfile {} m", "report -o {} --overwrite m")  # fmt: skip
MODEL = [
    (line.format(name), 2, f"{name} is a file of the model: name another file")
    for line in OPTIONS
    for name in GUARDED
]

OTHERS = [
    ("report -s 8 --images 20 --quiet m", 0, ""),
    ("report -s 8 --images 20 -o new.html m", 0, ""),
    ("report", 2, "an argument is missing"),
    ("report nowhere", 1, "nowhere: no model there"),
    ("report -s 1 m", 2, "--samples must be at least 2"),
    ("report -s 10000001 m", 2, "--samples must be at most"),
    ("report --images 1 m", 2, "--images must be at least 2"),
    ("report --seed -1 m", 2, "--seed must be at least 0"),
    ("report -g 1_0 m", 2, "--device must be a whole number"),
    ("report -o '' m", 2, "-o is empty"),
    ("report -o text.npz m", 1, "-o: text.npz exists"),
    ("report -o folder --overwrite m", 1, "-o: folder is a folder"),
    ("report -o nowhere/r.html m", 1, "-o: nowhere is no folder"),
    ("report -o digits.npz -d digits.npz --overwrite m", 2, "is a file of the data"),
    ("report -d msrc12 m", 2, "--dataset: unknown data set"),
    ("report -s 8 --images 20 --quiet -d digits,digits.npz m", 0, ""),
    ("report -d digits,data.npz m", 1, "data.npz: images have shape"),
    ("report -d digits,digits m", 2, "--dataset has digits twice"),
    ("report -d digits,digits.npz -o digits.npz --overwrite m", 2, "is a file of the data"),
    ("report --eval iwae m", 2, "--eval.*: unknown"),
    ("convert m new.h5", 0, ""),
    ("convert m new", 0, ""),
    ("convert m new.2/", 0, ""),
    ("convert m deep/er/new.npz", 0, ""),
    ("convert --torch m new.safetensors", 0, ""),
    ("convert --overwrite m m.h5", 0, ""),
    ("convert --summary m", 0, ""),
    ("convert m", 2, "'m': a word too many, or one is missing"),
    ("convert --summary --torch m", 2, "--torch: unknown|--summary: unknown|missing"),
    ("convert '' new.h5", 2, "<prefix> is empty"),
    ("convert m ''", 2, "<out> is empty"),
    ("convert nowhere new.h5", 1, "nowhere: no model there"),
    ("convert --summary nowhere", 1, "nowhere: no model there"),
    ("convert m new.pt", 2, r"<out>: .pt is no ending .*: choose from .h5, .safetensors, .npz"),
    ("convert m new.hdf5", 2, "<out>: .hdf5 is no ending"),
    ("convert m new.H5", 2, "<out>: .H5 is no ending"),
    ("convert m new.tar.gz", 2, "<out>: .gz is no ending"),
    ("convert m new.h5/", 2, "<out>: new.h5/ names no file"),
    ("convert m .h5", 2, "<out>: .h5 names no file"),
    ("convert m .", 2, "<out>: . names no file"),
    ("convert m ..", 2, "names no file"),
    ("convert m /", 2, "names no file"),
    ("convert m folder/..", 2, "names no file"),
    ("convert --torch m new.h5", 2, "--torch writes .safetensors files"),
    ("convert --torch m new", 2, "--torch writes .safetensors files"),
    ("convert m m.h5", 1, "<out>: m.h5 exists"),
    ("convert m m", 2, "is the file to convert"),
    ("convert --overwrite m m", 2, "is the file to convert"),
    ("convert --overwrite m.h5 m.h5", 2, "is the file to convert"),
    ("convert --overwrite m.h5 link", 2, "is a file of the model"),
    ("convert --overwrite m m/snapshot_latest", 2, "is a file of the model"),
    ("convert --overwrite m odd_out.h5", 2, "<out>: odd_out.meta.yaml is a file of the model"),
    ("convert m text.npz/a.h5", 1, "<out>: text.npz is no folder"),
    ("convert --overwrite m fifo.h5", 1, "<out>: fifo.h5 is no ordinary file"),
    ("inspect m", 0, ""),
    ("inspect", 2, "an argument is missing"),
    ("inspect --overwrite m", 2, "--overwrite: unknown"),
    ("inspect ''", 2, "<prefix> is empty"),
    ("inspect nowhere", 1, "nowhere: no model there"),
    ("inspect text.npz", 1, "text.npz: "),
    ("jvicount 16 2", 0, ""),
    ("jvicount 20000 10000", 0, ""),
    ("jvicount 1000000 500000", 2, "the number has about 301027 digits, and at most 10000"),
    ("jvicount 999999999999999 999999999", 2, "digits, and at most 10000"),
    ("jvicount 999999999999999 500", 0, ""),
    ("jvicount 1000000 999999", 2, "the number has about"),
    ("jvicount 16", 2, "'16': a word too many, or one is missing"),
    ("jvicount 16 2 3", 2, "'3': a word too many"),
    ("jvicount -1 2", 2, "<n> must be at least 1, not -1"),
    ("jvicount 0 0", 2, "<n> must be at least 1"),
    ("jvicount 3 3", 2, "order 3 needs more than 3 samples"),
    ("jvicount x 3", 2, "<n> must be a whole number, not 'x'"),
    ("jvicount 3 ٣", 2, "<order> must be a whole number"),
    ("jvicount 1e6 3", 2, "<n> must be a whole number"),
    ("jvicount 1_000 3", 2, "<n> must be a whole number"),
    ("jvicount 99999999999999999999 3", 2, "<n> must be at most"),
    (f"jvicount {'9' * 5000} 3", 2, "<n> must be a whole number"),
    ("bayesnet", 2, "an argument is missing|Usage|missing"),
    ("bayesnet --help", None, ""),
    ("bayesnet train -o new -d wine --hidden 2 -e 1 --quiet", 0, ""),
    ("bayesnet train m", 2, "'m': a word too many|missing"),
    ("bayesnet train -e 0", 2, "--epochs must be at least 1"),
    ("bayesnet train -e 1e3", 2, "--epochs must be a whole number"),
    ("bayesnet train --lr fast", 2, "--lr must be a number"),
    ("bayesnet train -o m", 1, "exists: choose another -o"),
    ("bayesnet train -o ''", 2, "-o is empty"),
    ("bayesnet train -d mnist --data-dir nowhere", 1, "data folder nowhere does not exist"),
    ("bayesnet train -d text.npz", 1, "text.npz: its first line should name two columns"),
    ("bayesnet predict", 2, "missing"),
    ("bayesnet predict m", 1, "m is of mlp, not a Bayesian network"),
    ("bayesnet evaluate nowhere", 1, "nowhere: no model there"),
    ("bayesnet evaluate -s x m", 2, "--samples must be a whole number"),
    ("bayesnet evaluate --evidence '' m", 2, "--evidence is empty"),
    ("demo x", 2, "'x': a word too many"),
    ("demo -e 0", 2, "--epochs must be at least 1"),
    ("demo --seed x", 2, "--seed must be a whole number"),
    ("demo -o ''", 2, "-o is empty"),
    ("demo -o text.npz", 1, "-o: text.npz is no folder"),
    ("demo -o mine", 2, "-o: mine/model.* exists and is no demo's: name another folder"),
    ("demo -o mine_too", 2, "-o: mine_too/results.json exists and is no demo's"),
]

CASES = NUMBERS + TRAIN + RESUME + EVALUATE + MODEL + OTHERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder described above."""
    home = tmp_path_factory.mktemp("home")
    previous = os.getcwd()
    os.chdir(home)
    small = "-e 2 -b 2000 --opt adam --quiet --vae-samples 2"
    train.main(f"-o m {small} --vae-type jvi --nhidden 4 --nlatent 2".split())
    train.main(f"-o b {small} -e 1 --model burda --estimator iwae".replace("-e 2", "").split())
    for name in ("m.h5", "m.safetensors"):
        convert.main(["m", name])
    _data()
    _look_alikes()
    os.chdir(previous)
    return home


def _data():
    from jvi import datasets

    digits = datasets.load("digits")
    np.savez("digits.npz", train=digits.train, validation=digits.validation, test=digits.test)
    np.savez("data.npz", np.random.default_rng(0).integers(0, 2, size=(30, 9)))
    Path("data/mnist").mkdir(parents=True)
    Path("data/mnist/t10k-images-idx3-ubyte").write_bytes(b"images")
    Path("data/mine").write_text("mine")
    os.link("data/mnist/t10k-images-idx3-ubyte", "images")
    os.link("digits.npz", "digitshard")


def _look_alikes():
    Path("text.npz").write_text("nothing of the kind")
    Path("results").write_text("-27.12345678,0.12345678,1.50000000\n")
    Path("old.json").write_text("{}")
    os.link("old.json", "oldhard")
    os.link("m/log", "hard")
    Path("folder").mkdir()
    for link, target in (("link", "m"), ("linked", "folder"), ("linked.perf", "m.perf"),
                         ("dangling", "nowhere"), ("odd.perf", "text.npz"),
                         ("odd_out.meta.yaml", "m.perf")):  # fmt: skip
        os.symlink(target, link)
    for name in ("fifo", "fifo.h5"):
        os.mkfifo(name)
    Path("taken.perf").write_bytes(Path("data.npz").read_bytes())
    for name, before, after in (("odd_meta", "--vae-samples: '2'", "--vae-samples: two"),
                                ("list_meta", "--seed: '0'", "--seed: [1, 2]")):  # fmt: skip
        os.mkdir(name)
        for each in Path("m").iterdir():
            os.link(each, f"{name}/{each.name}")
        text = Path("m.meta.yaml").read_text()
        assert before in text
        Path(f"{name}.meta.yaml").write_text(text.replace(before, after))
    for name in ("mine", "mine_too"):
        os.mkdir(name)
    Path("mine/model.meta.yaml").write_text(Path("m.meta.yaml").read_text())
    Path("mine_too/results.json").write_text("mine")


def tree(folder):
    """Of everything in a folder: what it is, and its content."""
    return {
        str(path.relative_to(folder)): (
            os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        )
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(("line", "status", "words"), CASES, ids=[case[0][:70] for case in CASES])
def test_command_line(folder, monkeypatch, capsys, line, status, words):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("JVI_DATA", raising=False)
    name, *argv = shlex.split(line)
    before = tree(folder)
    if status == 0:
        MAIN[name](argv)
        restore(folder, before)
        return
    with pytest.raises(SystemExit) as stop:
        MAIN[name](argv)
    said = str(stop.value)
    if status is None:
        assert stop.value.code in (None, 0)
        return
    assert (stop.value.code if isinstance(stop.value.code, int) else 1) == status, said
    assert said.startswith("error: ") and "\n" not in said and said.isprintable()
    assert re.search(words, said), said
    assert tree(folder) == before
    captured = capsys.readouterr()
    assert status == 1 or captured.err.startswith(said + "\n")
    assert "Traceback" not in captured.err


def restore(folder, before):
    """Undo what a line has written; what was there must be there still."""
    after = tree(folder)
    assert before.keys() <= after.keys()
    for name in sorted(after.keys() - before.keys(), reverse=True):
        path = folder / name
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, content in before.items():
        if after[name] != content:
            (folder / name).write_bytes(content)


def test_the_table_is_long():
    assert len({line for line, *_ in CASES}) == len(CASES) >= 250
