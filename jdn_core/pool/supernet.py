"""The super-network: a detector whose depth, widths and neck can be set between two iterations."""

from __future__ import annotations

from typing import cast

from torch import nn

from jdn_core.detector.backbone import Backbone, Block
from jdn_core.detector.build import Detector
from jdn_core.pool.elastic_ops import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear, ElasticStage
from jdn_core.space.architecture import BlockSpec, DetectorSpec
from jdn_core.space.teachers import SubnetSpace, SubnetSpec


class SuperNet(Detector):
    """The largest subnet's detector with elastic layers instead of the plain ones (paper, section 3.1.3).

    Parameters have the names they have in every subnet's own detector, which holds their leading slices.
    Elastic depth keeps the first blocks of a stage, elastic width the first channels of a layer. The FPN's
    laterals follow the stages; the RPN and the box head's input follow the neck.

    Attributes:
        spec: of the largest subnet, whichever is active.
        space: the subnets there are.
        template: classes, regions and normalisation of every subnet's specification.
    """

    def __init__(self, space: SubnetSpace, template: DetectorSpec) -> None:
        super().__init__(space.detector_spec(space.largest, template))
        self.space = space
        self.template = template
        for name, module in list(self.named_modules()):
            if isinstance(module, nn.Conv2d):
                self.set_submodule(name, ElasticConv2d.of(module))
            elif isinstance(module, nn.BatchNorm2d):
                self.set_submodule(name, ElasticBatchNorm2d.of(module))
        self._stages = [ElasticStage(*stage.children()) for stage in self.backbone.stages]
        self.backbone.stages = nn.ModuleList(self._stages)
        necks = [module for part in (self.neck, self.rpn.head.conv) for module in part.modules()]
        self._neck = [module for module in necks if isinstance(module, ElasticConv2d)]
        self.roi.box_head.fc6 = ElasticLinear.of(self.roi.box_head.fc6)
        self.activate(space.largest)

    @property
    def active(self) -> SubnetSpec:
        """Returns the subnet that computes now."""
        return self._active

    def activate(self, subnet: SubnetSpec) -> None:
        """Makes a subnet compute; raises ValueError where the space does not hold it."""
        spec = self.space.detector_spec(subnet, self.template)
        cast(ElasticConv2d, self.backbone.stem.conv).active = spec.backbone.stem
        for stage, blocks in zip(self._stages, spec.backbone.stages, strict=True):
            stage.active = len(blocks)
        for modules, blocks in zip(blocks_of(self.backbone), spec.backbone.stages, strict=True):
            for module, block in zip(modules, blocks, strict=False):
                _use(module, block)
        for conv in self._neck:
            conv.active = spec.neck
        self._active = subnet


def synchronise(supernet: SuperNet) -> None:
    """Makes BN take the statistics of all processes that train the super-network together."""
    for module in supernet.modules():
        if isinstance(module, ElasticBatchNorm2d):
            module.synchronised = True


def blocks_of(backbone: Backbone) -> list[list[Block]]:
    """Returns the blocks of each stage, those included that are not active."""
    return [cast(list[Block], list(stage.children())) for stage in backbone.stages]


def _use(module: Block, spec: BlockSpec) -> None:
    """Sets the widths of a block."""
    for (conv, _), channels in zip(module.layers(), spec.channels, strict=True):
        cast(ElasticConv2d, conv).active = channels
    if module.shortcut is not None:
        cast(ElasticConv2d, module.shortcut.conv).active = spec.out
