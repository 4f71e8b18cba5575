import pytest

from rlsp import devices, processors
from rlsp.devices import describe_device
from rlsp.processors import processor_name

EPYC = "vendor_id\t: AuthenticAMD\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
XEON = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: {}\n"
    "model name\t: Intel(R) Xeon(R) Platinum CPU @ 2.70GHz\nstepping\t: {}\n"
)


@pytest.mark.parametrize(
    ("family", "model", "generation"),
    [(23, 1, "Zen"), (23, 49, "Zen 2"), (25, 1, "Zen 3"), (25, 17, "Zen 4"), (25, 33, "Zen 3"), (25, 97, "Zen 4"),
     (26, 2, "Zen 5"), (31, 7, "family 31 model 7")],
)  # fmt: skip
def test_processors_of_one_name_are_told_apart(family, model, generation):
    """Rome, Milan, Genoa, Vermeer, Raphael, Turin; a hypervisor calls all of the servers AMD EPYC."""
    assert processor_name(EPYC.format(family, model)) == ("AMD EPYC", generation)


@pytest.mark.parametrize(
    ("model", "stepping", "generation"),
    [(63, 2, "Haswell"), (85, 4, "Skylake"), (85, 7, "Cascade Lake"), (85, 11, "Cooper Lake"), (106, 6, "Ice Lake"),
     (143, 8, "Sapphire Rapids"), (207, 2, "Emerald Rapids"), (250, 1, "family 6 model 250")],
)  # fmt: skip
def test_steppings_make_generations_too(model, stepping, generation):
    assert processor_name(XEON.format(model, stepping)) == ("Intel Xeon Platinum", generation)


def test_an_arm_processor_has_a_part_number():
    known = "processor : 0\nCPU implementer : 0x41\nCPU architecture: 8\nCPU part : 0xd4f\nCPU revision : 0\n"
    assert processor_name(known) == ("Arm Neoverse V2", "")
    assert processor_name(known.replace("d4f", "fff")) == ("Arm 0x41 0xfff", "")


def test_without_a_kernel_that_tells_the_platform_names_it(monkeypatch):
    monkeypatch.setattr(processors.platform, "system", lambda: "Windows")
    monkeypatch.setattr(processors.platform, "processor", lambda: "Some Processor")
    assert processor_name("") == ("Some Processor", "")


def test_a_device_is_named_with_what_makes_its_speed(monkeypatch, tmp_path):
    monkeypatch.setattr(processors, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(EPYC.format(25, 1))
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(devices.torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(devices, "available_precisions", lambda device: ["fp32"])
    assert describe_device("cpu") == "AMD EPYC (Zen 3, AVX2), 2 logical cores"
    (tmp_path / "cpuinfo").write_text(EPYC.format(25, 17))
    monkeypatch.setattr(devices.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(devices, "available_precisions", lambda device: ["fp32", "bf16"])
    assert describe_device("cpu") == "AMD EPYC (Zen 4, AVX-512 bf16), 2 logical cores"
    (tmp_path / "cpuinfo").unlink()
    monkeypatch.setattr(processors.platform, "processor", lambda: "arm")
    assert describe_device("cpu") == "arm (AVX-512 bf16), 2 logical cores"
