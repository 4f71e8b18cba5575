"""Name a processor by its model and generation."""

import platform
import re
import subprocess
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

# (family, first model, last model) of CPUID. Sources: bsp_init_amd in arch/x86/kernel/cpu/amd.c and
# arch/x86/include/asm/intel-family.h of Linux, which name the same ranges.
AMD = {
    "Zen": ((0x17, 0x00, 0x2F), (0x17, 0x50, 0x5F)),
    "Zen 2": ((0x17, 0x30, 0x4F), (0x17, 0x60, 0x7F), (0x17, 0x90, 0x91), (0x17, 0xA0, 0xAF)),
    "Zen 3": ((0x19, 0x00, 0x0F), (0x19, 0x20, 0x5F)),
    "Zen 4": ((0x19, 0x10, 0x1F), (0x19, 0x60, 0xAF)),
    "Zen 5": ((0x1A, 0x00, 0x2F), (0x1A, 0x40, 0x4F), (0x1A, 0x60, 0x7F)),
    "Zen 6": ((0x1A, 0x50, 0x5F), (0x1A, 0x80, 0xAF), (0x1A, 0xC0, 0xCF)),
}
INTEL = {  # models of family 6
    "Sandy Bridge": (0x2A, 0x2D),
    "Ivy Bridge": (0x3A, 0x3E),
    "Haswell": (0x3C, 0x3F, 0x45, 0x46),
    "Broadwell": (0x3D, 0x47, 0x4F, 0x56),
    "Skylake": (0x4E, 0x5E, 0x55),
    "Kaby Lake": (0x8E, 0x9E),
    "Comet Lake": (0xA5, 0xA6),
    "Ice Lake": (0x6A, 0x6C, 0x7D, 0x7E),
    "Tiger Lake": (0x8C, 0x8D),
    "Rocket Lake": (0xA7,),
    "Alder Lake": (0x97, 0x9A),
    "Raptor Lake": (0xB7, 0xBA, 0xBF),
    "Meteor Lake": (0xAA, 0xAC),
    "Sapphire Rapids": (0x8F,),
    "Emerald Rapids": (0xCF,),
    "Granite Rapids": (0xAD, 0xAE),
    "Sierra Forest": (0xAF,),
    "Arrow Lake": (0xB5, 0xC5, 0xC6),
    "Lunar Lake": (0xBD,),
}
SKYLAKE_SERVERS = {"Cascade Lake": range(5, 8), "Cooper Lake": range(10, 12)}  # steppings of model 0x55
# (CPU implementer, CPU part) of Arm's MIDR; names as in sys-utils/lscpu-arm.c of util-linux.
ARM = {
    ("0x41", "0xd08"): "Arm Cortex-A72",
    ("0x41", "0xd0b"): "Arm Cortex-A76",
    ("0x41", "0xd0c"): "Arm Neoverse N1",
    ("0x41", "0xd40"): "Arm Neoverse V1",
    ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd4f"): "Arm Neoverse V2",
}


def describe_processor(vectors: str) -> str:
    """Name this machine's processor, such as "AMD EPYC (Zen 3, AVX2)".

    Two processors that differ in what makes convolutions fast have different names: cloud providers hide the model
    behind names such as "AMD EPYC".

    Parameters
    ----------
    vectors : str
        Vector instructions that are used on it.
    """
    name, generation = processor_name(_cpuinfo())
    return f"{name} ({', '.join(filter(None, [generation, vectors]))})"


def processor_name(cpuinfo: str) -> tuple[str, str]:
    """Read a processor's model name and generation off what the Linux kernel reports of it.

    Parameters
    ----------
    cpuinfo : str
        Text of ``/proc/cpuinfo``; empty where there is none.

    Returns
    -------
    name, generation : str
        The generation of an x86 processor that is in no table here is its family and model; it is empty where the
        kernel reports neither.
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if "CPU implementer" in fields:
        known = fields["CPU implementer"], fields.get("CPU part", "")
        return ARM.get(known, f"Arm {known[0]} {known[1]}"), ""
    name = re.sub(r"\((R|TM)\)|\bCPU\b|@.*", "", fields.get("model name", "")) or _platform_name()
    return " ".join(name.split()), _generation(fields)


def _generation(fields: dict[str, str]) -> str:
    """Name the generation of an x86 processor by its CPUID."""
    try:
        family, model, stepping = (int(fields[key]) for key in ("cpu family", "model", "stepping"))
    except (KeyError, ValueError):
        return ""
    vendor = fields.get("vendor_id")
    if vendor == "AuthenticAMD":
        for generation, ranges in AMD.items():
            if any(family == of and first <= model <= last for of, first, last in ranges):
                return generation
    if vendor == "GenuineIntel" and family == 6:
        if model == 0x55:
            for generation, steppings in SKYLAKE_SERVERS.items():
                if stepping in steppings:
                    return generation
        for generation, models in INTEL.items():
            if model in models:
                return generation
    return f"family {family} model {model}"


def _cpuinfo() -> str:
    try:
        return CPUINFO.read_text()
    except OSError:
        return ""


def _platform_name() -> str:
    """Name the processor where the kernel has no ``/proc/cpuinfo``."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            pass
    return platform.processor() or platform.machine()
