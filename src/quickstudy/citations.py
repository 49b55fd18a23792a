"""BibTeX for what a run used: `quickstudy cite RUN`."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from quickstudy.recipes import RECIPES
from quickstudy.report.runs import read_config

BIBTEX: dict[str, str] = {
    "finn2017maml": """@inproceedings{finn2017maml,
  title     = {Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks},
  author    = {Finn, Chelsea and Abbeel, Pieter and Levine, Sergey},
  booktitle = {Proceedings of the 34th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {70},
  pages     = {1126--1135},
  year      = {2017}
}""",
    "garnelo2018np": """@misc{garnelo2018np,
  title         = {Neural Processes},
  author        = {Garnelo, Marta and Schwarz, Jonathan and Rosenbaum, Dan and Viola, Fabio and Rezende, Danilo J.
                   and Eslami, S. M. Ali and Teh, Yee Whye},
  year          = {2018},
  eprint        = {1807.01622},
  archivePrefix = {arXiv},
  note          = {ICML Workshop on Theoretical Foundations and Applications of Deep Generative Models}
}""",
    "garnelo2018cnp": """@inproceedings{garnelo2018cnp,
  title     = {Conditional Neural Processes},
  author    = {Garnelo, Marta and Rosenbaum, Dan and Maddison, Christopher and Ramalho, Tiago and Saxton, David
               and Shanahan, Murray and Teh, Yee Whye and Rezende, Danilo J. and Eslami, S. M. Ali},
  booktitle = {Proceedings of the 35th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {80},
  pages     = {1704--1713},
  year      = {2018}
}""",
    "li2017metasgd": """@misc{li2017metasgd,
  title         = {Meta-SGD: Learning to Learn Quickly for Few-Shot Learning},
  author        = {Li, Zhenguo and Zhou, Fengwei and Chen, Fei and Li, Hang},
  year          = {2017},
  eprint        = {1707.09835},
  archivePrefix = {arXiv}
}""",
    "raghu2020anil": """@inproceedings{raghu2020anil,
  title     = {Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of {MAML}},
  author    = {Raghu, Aniruddh and Raghu, Maithra and Bengio, Samy and Vinyals, Oriol},
  booktitle = {International Conference on Learning Representations},
  year      = {2020},
  eprint    = {1909.09157},
  archivePrefix = {arXiv}
}""",
    "oh2021boil": """@inproceedings{oh2021boil,
  title     = {{BOIL}: Towards Representation Change for Few-shot Learning},
  author    = {Oh, Jaehoon and Yoo, Hyungjun and Kim, ChangHwan and Yun, Se-Young},
  booktitle = {International Conference on Learning Representations},
  year      = {2021},
  eprint    = {2008.08882},
  archivePrefix = {arXiv}
}""",
    "zintgraf2019cavia": """@inproceedings{zintgraf2019cavia,
  title     = {Fast Context Adaptation via Meta-Learning},
  author    = {Zintgraf, Luisa and Shiarlis, Kyriacos and Kurin, Vitaly and Hofmann, Katja and Whiteson, Shimon},
  booktitle = {Proceedings of the 36th International Conference on Machine Learning},
  year      = {2019},
  eprint    = {1810.03642},
  archivePrefix = {arXiv}
}""",
    "nichol2018reptile": """@misc{nichol2018reptile,
  title         = {On First-Order Meta-Learning Algorithms},
  author        = {Nichol, Alex and Achiam, Joshua and Schulman, John},
  year          = {2018},
  eprint        = {1803.02999},
  archivePrefix = {arXiv}
}""",
    "park2019metacurvature": """@inproceedings{park2019metacurvature,
  title     = {Meta-Curvature},
  author    = {Park, Eunbyung and Oliva, Junier B.},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019},
  pages     = {3314--3324},
  eprint    = {1902.03356},
  archivePrefix = {arXiv}
}""",
    "antoniou2019mamlpp": """@inproceedings{antoniou2019mamlpp,
  title     = {How to train your {MAML}},
  author    = {Antoniou, Antreas and Edwards, Harrison and Storkey, Amos},
  booktitle = {International Conference on Learning Representations},
  year      = {2019},
  eprint    = {1810.09502},
  archivePrefix = {arXiv}
}""",
    "flennerhag2020warpgrad": """@inproceedings{flennerhag2020warpgrad,
  title     = {Meta-Learning with Warped Gradient Descent},
  author    = {Flennerhag, Sebastian and Rusu, Andrei A. and Pascanu, Razvan and Visin, Francesco and Yin, Hujun
               and Hadsell, Raia},
  booktitle = {International Conference on Learning Representations},
  year      = {2020},
  eprint    = {1909.00025},
  archivePrefix = {arXiv}
}""",
    "yoon2018bmaml": """@inproceedings{yoon2018bmaml,
  title     = {Bayesian Model-Agnostic Meta-Learning},
  author    = {Yoon, Jaesik and Kim, Taesup and Dia, Ousmane and Kim, Sungwoong and Bengio, Yoshua and Ahn, Sungjin},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {31},
  year      = {2018},
  eprint    = {1806.03836},
  archivePrefix = {arXiv}
}""",
    "liu2016svgd": """@inproceedings{liu2016svgd,
  title     = {Stein Variational Gradient Descent: A General Purpose {Bayesian} Inference Algorithm},
  author    = {Liu, Qiang and Wang, Dilin},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {29},
  year      = {2016},
  eprint    = {1608.04471},
  archivePrefix = {arXiv}
}""",
    "rajeswaran2019imaml": """@inproceedings{rajeswaran2019imaml,
  title     = {Meta-Learning with Implicit Gradients},
  author    = {Rajeswaran, Aravind and Finn, Chelsea and Kakade, Sham M. and Levine, Sergey},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019},
  eprint    = {1909.04630},
  archivePrefix = {arXiv}
}""",
    "harrison2018alpaca": """@inproceedings{harrison2018alpaca,
  title         = {Meta-Learning Priors for Efficient Online {Bayesian} Regression},
  author        = {Harrison, James and Sharma, Apoorva and Pavone, Marco},
  booktitle     = {Algorithmic Foundations of Robotics XIII},
  year          = {2018},
  eprint        = {1807.08912},
  archivePrefix = {arXiv}
}""",
    "kemaev2025mixflow": """@inproceedings{kemaev2025mixflow,
  title     = {Scalable Meta-Learning via Mixed-Mode Differentiation},
  author    = {Kemaev, Iurii and Calian, Dan A. and Zintgraf, Luisa M. and Farquhar, Gregory and van Hasselt, Hado},
  booktitle = {Proceedings of the 42nd International Conference on Machine Learning},
  year      = {2025},
  eprint    = {2505.00793},
  archivePrefix = {arXiv}
}""",
    "lacoste2018multitask": """@misc{lacoste2018multitask,
  title         = {Uncertainty in Multitask Transfer Learning},
  author        = {Lacoste, Alexandre and Oreshkin, Boris and Chung, Wonchang and Boquet, Thomas
                   and Rostamzadeh, Negar and Krueger, David},
  year          = {2018},
  eprint        = {1806.07528},
  archivePrefix = {arXiv}
}""",
    "finn2018platipus": """@inproceedings{finn2018platipus,
  title     = {Probabilistic Model-Agnostic Meta-Learning},
  author    = {Finn, Chelsea and Xu, Kelvin and Levine, Sergey},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {31},
  pages     = {9516--9527},
  year      = {2018},
  eprint    = {1806.02817},
  archivePrefix = {arXiv}
}""",
    "blanes2002splitting": """@article{blanes2002splitting,
  title   = {Practical symplectic partitioned {Runge--Kutta} and {Runge--Kutta--Nystr{\\"o}m} methods},
  author  = {Blanes, Sergio and Moan, Per Christian},
  journal = {Journal of Computational and Applied Mathematics},
  volume  = {142},
  number  = {2},
  pages   = {313--330},
  year    = {2002}
}""",
    "pinheiro1995nlme": """@article{pinheiro1995nlme,
  title   = {Approximations to the Log-Likelihood Function in the Nonlinear Mixed-Effects Model},
  author  = {Pinheiro, Jos{\\'e} C. and Bates, Douglas M.},
  journal = {Journal of Computational and Graphical Statistics},
  volume  = {4},
  number  = {1},
  pages   = {12--35},
  year    = {1995}
}""",
    "burda2016iwae": """@inproceedings{burda2016iwae,
  title     = {Importance Weighted Autoencoders},
  author    = {Burda, Yuri and Grosse, Roger and Salakhutdinov, Ruslan},
  booktitle = {International Conference on Learning Representations},
  year      = {2016},
  eprint    = {1509.00519},
  archivePrefix = {arXiv}
}""",
    "foong2020convnp": """@inproceedings{foong2020convnp,
  title     = {Meta-Learning Stationary Stochastic Process Prediction with Convolutional Neural Processes},
  author    = {Foong, Andrew Y. K. and Bruinsma, Wessel P. and Gordon, Jonathan and Dubois, Yann and Requeima, James
               and Turner, Richard E.},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  year      = {2020}
}""",
    "nguyen2022tnp": """@inproceedings{nguyen2022tnp,
  title     = {Transformer Neural Processes: Uncertainty-Aware Meta Learning via Sequence Modeling},
  author    = {Nguyen, Tung and Grover, Aditya},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {162},
  year      = {2022}
}""",
    "rasmussen2006gp": """@book{rasmussen2006gp,
  title     = {Gaussian Processes for Machine Learning},
  author    = {Rasmussen, Carl Edward and Williams, Christopher K. I.},
  publisher = {MIT Press},
  year      = {2006}
}""",
    "schulman2015trpo": """@inproceedings{schulman2015trpo,
  title     = {Trust Region Policy Optimization},
  author    = {Schulman, John and Levine, Sergey and Abbeel, Pieter and Jordan, Michael and Moritz, Philipp},
  booktitle = {Proceedings of the 32nd International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {37},
  pages     = {1889--1897},
  year      = {2015}
}""",
    "rothfuss2019promp": """@inproceedings{rothfuss2019promp,
  title     = {{ProMP}: Proximal Meta-Policy Search},
  author    = {Rothfuss, Jonas and Lee, Dennis and Clavera, Ignasi and Asfour, Tamim and Abbeel, Pieter},
  booktitle = {International Conference on Learning Representations},
  year      = {2019},
  eprint    = {1810.06784},
  archivePrefix = {arXiv}
}""",
    "foerster2018dice": """@inproceedings{foerster2018dice,
  title     = {{DiCE}: The Infinitely Differentiable {Monte Carlo} Estimator},
  author    = {Foerster, Jakob and Farquhar, Gregory and Al-Shedivat, Maruan and Rockt{\\"a}schel, Tim
               and Xing, Eric and Whiteson, Shimon},
  booktitle = {Proceedings of the 35th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {80},
  year      = {2018}
}""",
    "farquhar2019loaded": """@inproceedings{farquhar2019loaded,
  title     = {Loaded {DiCE}: Trading off Bias and Variance in Any-Order Score Function Gradient Estimators for
               Reinforcement Learning},
  author    = {Farquhar, Gregory and Whiteson, Shimon and Foerster, Jakob},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019},
  eprint    = {1909.10549},
  archivePrefix = {arXiv}
}""",
    "stadie2018emaml": """@misc{stadie2018emaml,
  title         = {Some Considerations on Learning to Explore via Meta-Reinforcement Learning},
  author        = {Stadie, Bradly C. and Yang, Ge and Houthooft, Rein and Chen, Xi and Duan, Yan and Wu, Yuhuai
                   and Abbeel, Pieter and Sutskever, Ilya},
  year          = {2018},
  eprint        = {1803.01118},
  archivePrefix = {arXiv}
}""",
    "kingma2015adam": """@inproceedings{kingma2015adam,
  title     = {Adam: A Method for Stochastic Optimization},
  author    = {Kingma, Diederik P. and Ba, Jimmy},
  booktitle = {International Conference on Learning Representations},
  year      = {2015},
  eprint    = {1412.6980},
  archivePrefix = {arXiv}
}""",
    "loshchilov2017sgdr": """@inproceedings{loshchilov2017sgdr,
  title     = {{SGDR}: Stochastic Gradient Descent with Warm Restarts},
  author    = {Loshchilov, Ilya and Hutter, Frank},
  booktitle = {International Conference on Learning Representations},
  year      = {2017},
  eprint    = {1608.03983},
  archivePrefix = {arXiv}
}""",
}

# What a word in a run's configuration calls for.
LEARNERS: dict[str, tuple[str, ...]] = {
    "MAML": ("finn2017maml",),
    "FOMAML": ("finn2017maml",),
    "MAMLPlusPlus": ("antoniou2019mamlpp",),
    "WarpGrad": ("flennerhag2020warpgrad",),
    "BayesianMAML": ("yoon2018bmaml", "liu2016svgd"),
    "Reptile": ("nichol2018reptile",),
    "MAMLTRPO": ("finn2017maml", "schulman2015trpo"),
    "MAMLVPG": ("finn2017maml",),
    "ProMP": ("rothfuss2019promp",),
    "NeuralProcess": ("garnelo2018np",),
    "CNP": ("garnelo2018cnp",),
    "ALPaCA": ("harrison2018alpaca",),
}
OBJECTIVES: dict[str, tuple[str, ...]] = {"iwae": ("burda2016iwae",), "ml": ("foong2020convnp",)}
ESTIMATORS: dict[str, tuple[str, ...]] = {
    "lvc": ("rothfuss2019promp",),
    "dice": ("foerster2018dice",),
    "loaded_dice": ("farquhar2019loaded",),
    "emaml": ("stadie2018emaml",),
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "GaussianProcess(": ("rasmussen2006gp",),
    "frequency=(0.8, 1.2)": ("li2017metasgd",),
    "Harmonic(": ("lacoste2018multitask",),
    "SineAndLine(": ("finn2018platipus",),
    "Pendulum(": ("blanes2002splitting",),
    "Pharmacokinetics(": ("pinheiro1995nlme",),
}
SCHEDULES: dict[str, tuple[str, ...]] = {"cosine": ("loshchilov2017sgdr",), "warmup_cosine": ("loshchilov2017sgdr",)}


def keys_of_run(path: str | Path) -> list[str]:
    """The keys of `BIBTEX` for exactly what the run at `path` used, its parts included, in order of weight."""
    path = Path(path)
    configs = [read_config(path)]
    configs += [read_config(file.parent) for file in sorted(path.glob("*/config.json"))]
    found: dict[str, None] = {}
    for config in configs:
        recipe = RECIPES.get(str(config.get("recipe")))
        found |= dict.fromkeys(recipe.cites if recipe else ())
    for config in configs:
        found |= dict.fromkeys(keys_of_config(config))
    return list(found)


def keys_of_inner_loop(learner: Mapping[str, Any]) -> Iterator[str]:
    """The keys that a gradient-based learner's options call for. Meta-SGD is known by its rates, ANIL by its head."""
    rule = learner.get("rule") or {}
    rates = rule.get("lr")
    rates = rates if isinstance(rates, Mapping) else {}
    if rates.get("learn") and rates.get("per") == "parameter":
        yield "li2017metasgd"
    if rates.get("learn") and rates.get("per") == "layer" and rates.get("steps") is not None:
        yield "antoniou2019mamlpp"
    if rule.get("class") == "Curvature":
        yield "park2019metacurvature"
    if learner.get("adapt") is not None:
        yield _key_of_what_moves(learner)
    if learner.get("implicit") is not None:
        yield "rajeswaran2019imaml"
    if learner.get("mixed_mode"):
        yield "kemaev2025mixflow"


def _key_of_what_moves(learner: Mapping[str, Any]) -> str:
    """An input alone is CAVIA's; all but the last layer BOIL's, where the network is known; a part else ANIL's."""
    adapt, network = learner["adapt"], learner.get("network") or {}
    patterns = [adapt] if isinstance(adapt, str) else list(adapt)
    if set(patterns) <= set(learner.get("inputs") or {}):
        return "zintgraf2019cavia"
    if network.get("class") == "MLP":
        last = f"layers.{len(network['hidden'])}."
        names = [f"{last}{k}" for k in ("weight", "bias")]
        if not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return "oh2021boil"
    return "raghu2020anil"


def keys_of_config(config: Mapping[str, Any]) -> Iterator[str]:
    """The keys that one `config.json` calls for: its learner, objective, tasks, optimiser and schedule."""
    learner = config.get("learner") or {}
    if not learner:  # of a run with parts, which speak for themselves
        return
    yield from LEARNERS.get(str(learner.get("class")), ())
    yield from keys_of_inner_loop(learner)
    if learner.get("class") == "NeuralProcess" and learner.get("paths") != "deterministic":
        yield from OBJECTIVES.get(str(learner.get("objective")), ())
    yield from ESTIMATORS.get(str(learner.get("estimator")), ())
    for start, keys in FAMILIES.items():
        if start in str(config.get("family", "")):
            yield from keys
    optimizer = learner.get("optimizer", config.get("optimizer"))  # what acts has its own, or, as TRPO, none
    if learner.get("class") != "MAMLTRPO" and (optimizer is None or "Adam" in str(optimizer)):
        yield "kingma2015adam"
    yield from SCHEDULES.get(str(config.get("schedule")), ())
