"""What the code of the newest generation holds, where the guard repeats it, replaces it or counts on it."""

from __future__ import annotations

from typing import Any, Final

from ultralytics.data.augment import BaseMixTransform, Mosaic
from ultralytics.data.base import BaseDataset
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import dist
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA

from trainmaster.trainer.engines.seams import Markers

FULL_PRECISION: Final = ("model = model.float()", "model = trainer.ema.ema.float()")

MARKERS: Final[dict[tuple[Any, str], Markers]] = {
    (BaseTrainer, "_do_train"): (
        'self.run_callbacks("on_train_epoch_start")',
        'self.run_callbacks("on_train_batch_start")',
        'self.run_callbacks("on_train_batch_end")',
        'self.run_callbacks("on_train_epoch_end")',
        'self.run_callbacks("on_fit_epoch_end")',
        "\n        self.optimizer.zero_grad()\n",  # before the first epoch
        "\n            self.tloss = None\n",  # before the first batch of an epoch
        "nw = self._get_warmup_iterations(nb)",
        "self._close_dataloader_mosaic()",
        "self.train_loader.reset()",
        "pbar = enumerate(self.train_loader)\n",
        "enumerate(self.train_loader), total=nb",
        "ni = i + nb * epoch\n",
        "if nw and ni <= nw:",
        "np.interp(ni, xi, [1, acc0])",
        'self.args.warmup_bias_lr if x.get("param_group") == "bias" else 0.0',
        'x["initial_lr"] * self.lf(epoch)',
        "[self.args.warmup_momentum, self.args.momentum]",
        "batch = self.preprocess_batch(batch)\n",
        'with autocast(torch.bfloat16 if self.args.amp == "bf16" else self.amp, device=self.device.type)',
        "loss, self.loss_items = self.model(batch)\n",
        "self.loss = loss.sum()\n",
        "if self.tloss is None",
        "(self.tloss[k] * i + v) / (i + 1)",
        "self.scaler.scale(self.loss).backward()\n",
        "if ni - last_opt_step >= self.accumulate:",
        "self.optimizer_step()\n",
        "*self.tloss.values()",
        "if self._handle_nan_recovery(epoch):",
        "self.metrics, self.fitness = self.validate(",
        "self.label_loss_items(self.tloss)",
        "unwrap_model(self.model).criterion.update()",
        "self.stop |= self.stopper(epoch + 1, self.fitness)",
        "self.save_model()",
        "self.final_eval(",
    ),
    (BaseTrainer, "train"): ("generate_ddp_command(self)", "self._do_train()\n"),
    (dist, "generate_ddp_file"): (('"trainer": type(trainer)', "{trainer.__class__.__name__}"), "vars(trainer.args)"),
    (BaseTrainer, "__init__"): ("self.check_resume(overrides", "get_save_dir(self.args)", "not self.args.resume"),
    (BaseTrainer, "_setup_train"): (
        "ckpt = self.setup_model()\n",
        "self.ema = ModelEMA(self.model)",
        "self.resume_training(ckpt)\n",
    ),
    (BaseTrainer, "save_model"): (
        "self.last.write_bytes(",
        "self.best.write_bytes(",
        'self.wdir / f"epoch{self.epoch}.pt"',
    ),
    (BaseTrainer, "optimizer_step"): (
        "self.scaler.unscale_(self.optimizer)",
        "max_norm=10.0)",
        "self.optimizer.zero_grad()\n",
        "self.ema.update(self.model)\n",
    ),
    (BaseTrainer, "validate"): ("self.validator(self)",),
    (BaseTrainer, "final_eval"): (
        "strip_optimizer(self.last)",
        "strip_optimizer(self.best, updates=",
        "self.validator(model=model)",
    ),
    (BaseModel, "forward"): ("self.loss(x, *args, **kwargs)",),
    (BaseValidator, "__call__"): (
        FULL_PRECISION,  # so that a stop in its middle saves an EMA of it
        "batch = self.preprocess(batch)",
        "model.loss(batch, preds)[1].items()",
    ),
    (ModelEMA, "update"): ("self.ema.state_dict().items()", "self.updates += 1"),
    (EarlyStopping, "__init__"): ("self.best_fitness = ", "self.best_epoch = ", "self.possible_stop = "),
    (InfiniteDataLoader, "__init__"): ("_RepeatSampler(self.batch_sampler)",),
    (InfiniteDataLoader, "__iter__"): ("self.iterator = self._get_iterator()", "yield next(self.iterator)"),
    (BaseDataset, "__init__"): ("self.buffer = []",),
    (BaseDataset, "load_image"): ("self.buffer.append(i)",),
    (Mosaic, "__init__"): ("self.buffer_enabled = ",),
    (BaseMixTransform, "__init__"): ("self.pre_transform = ",),
    (YOLODataset, "collate_fn"): ("new_batch[k] = value",),  # a key of ours passes through
}
