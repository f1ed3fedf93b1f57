"""``wan-core rerun``: a video made again from itself, and the verdict on the two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import pytest
import torch
from real_commands import Call, Write
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import wan_core
from wan_core.media import probe, write_video
from wan_core.media.reading import read_frames

VAE = Path(wan_core.__file__).parent / "models" / "tiny" / "vae.safetensors"


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip/%05d.png"])
def test_the_same_bits_come_out_again(call: Call, write: Write, tmp_path: Path, name: str) -> None:
    assert call("run", write(path=name, stage="seed = 3", output="overwrite = true")).code == 0
    (tmp_path / "w.toml").unlink()  # the video is enough
    said = call("rerun", Path(name).parts[0])
    assert said.code == 0, said.err
    assert "the frames are the same, bit for bit (all 5)" in said.out
    assert (tmp_path / name.replace("clip", "clip-rerun")).exists() or (
        tmp_path / "clip-rerun"
    ).is_dir()


def test_the_rerun_replaces_nothing(call: Call, write: Write, tmp_path: Path) -> None:
    assert call("run", write()).code == 0
    assert call("rerun", "clip.mp4").code == 0
    again = call("rerun", "clip.mp4")
    assert again.code == 7
    assert "exists already" in again.err
    assert call("rerun", "clip.mp4", "-o", "third.mp4").code == 0


def test_a_copy_in_another_container_is_made_in_the_format_that_it_had(
    call: Call, write: Write, tmp_path: Path
) -> None:
    assert call("run", write(path="100%.mp4")).code == 0
    with av.open(tmp_path / "100%.mp4") as source, av.open(tmp_path / "copy.mkv", "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        copy.metadata.update(source.metadata)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    said = call("rerun", "copy.mkv")
    assert said.code == 0, said.err
    assert "the frames are the same, bit for bit (all 5)" in said.out
    assert (tmp_path / "copy-rerun.mp4").exists()
    assert call("rerun", "100%.mp4").code == 0
    assert (tmp_path / "100%-rerun.mp4").exists()


@pytest.mark.parametrize("name", ["clip.mp4", "clip/%05d.png"])
def test_a_video_is_not_compared_with_itself(call: Call, write: Write, name: str) -> None:
    assert call("run", write(path=name)).code == 0
    said = call("rerun", Path(name).parts[0], "-o", name, "--overwrite")
    assert said.code == 2
    assert said.err.startswith("-o: this is the video itself")
    again = call("rerun", Path(name).parts[0], "-o", name, "--overwrite", "-s", "stages.0.seed=2")
    assert again.code == 0


def test_a_video_whose_frames_are_others_is_told(call: Call, write: Write, tmp_path: Path) -> None:
    assert call("run", write(path="clip.mkv")).code == 0
    frames = list(read_frames(tmp_path / "clip.mkv"))
    comment = json.loads(probe(tmp_path / "clip.mkv").comment or "")
    comment["machine"]["threads"] = "64"
    frames[3] = frames[3].copy()
    frames[3][0, 0, 0] ^= 1
    write_video(
        tmp_path / "other.mkv", [frame[None] for frame in frames], 8, comment=json.dumps(comment)
    )
    said = call("rerun", "other.mkv")
    assert said.code == 8
    assert "the videos differ from frame 3 on, by at most 1 of 255" in said.out
    assert 'threads was "64", is now' in said.out
    as_json = call("rerun", "other.mkv", "-o", "x.mkv", "--json")
    last = json.loads(as_json.out.splitlines()[-1])
    assert (last["event"], last["equal"], last["first_difference"]) == ("RerunCompared", False, 3)


def test_with_an_override_nothing_is_compared(call: Call, write: Write) -> None:
    assert call("run", write()).code == 0
    said = call("rerun", "clip.mp4", "-s", "stages.0.seed=9")
    assert said.code == 0
    assert "not compared" in said.out


def test_other_weights_are_refused_unless_asked_for(
    call: Call, write: Write, tmp_path: Path
) -> None:
    assert call("run", write()).code == 0
    comment = json.loads(probe(tmp_path / "clip.mp4").comment or "")
    comment["workflow"] = (
        comment["workflow"].replace("tiny-random", "tiny-t2v").replace("width = 32", "width = 32")
    )
    comment["weights"] = {"main.vae": "0" * 64}
    frames = list(read_frames(tmp_path / "clip.mp4"))
    write_video(tmp_path / "b.mp4", [f[None] for f in frames], 8, comment=json.dumps(comment))
    said = call("rerun", "b.mp4")
    assert said.code == 3
    names = "main.transformer, main.text_encoder, main.vae and main.tokenizer"
    assert f'{names} are not the files that "b.mp4" was made with' in said.err
    assert not (tmp_path / "b-rerun.mp4").exists()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("hashes", "keeps only hashes of its workflow"), ("none", "does not say how it was made")],
)
def test_what_says_too_little_can_not_be_repeated(
    call: Call, write: Write, kind: str, sentence: str
) -> None:
    assert call("run", write(output=f'provenance = "{kind}"')).code == 0
    said = call("rerun", "clip.mp4")
    assert said.code == 7
    assert said.err.startswith("clip.mp4: ")
    assert sentence in said.err


def test_relative_paths_start_where_they_are_told_to(
    call: Call, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w").mkdir()
    shutil.copy(VAE, tmp_path / "w" / "own.safetensors")
    text = write("w/w.toml", path="../clip.mp4", stage="width=32\nheight=32\nframes=5\nsteps=1")
    more = text.read_text().replace(
        'family = "tiny-random"', 'family = "tiny-t2v"\nvae = "own.safetensors"'
    )
    text.write_text(more)
    assert call("run", text).code == 0
    # this machine remembers where the file was, by its content
    assert call("rerun", "clip.mp4", "-o", "known.mp4").code == 0
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "another machine"))
    lost = call("rerun", "clip.mp4", "-o", "lost.mp4")
    assert lost.code == 3
    assert "own.safetensors does not exist" in lost.err
    assert call("rerun", "clip.mp4", "--folder", "w").code == 0
    assert (tmp_path / "clip-rerun.mp4").exists()  # beside the video all the same


def test_lora_files_of_stages_are_found_again(
    call: Call, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w").mkdir()
    q = "blocks.0.self_attn.q"
    factors = {f"{q}.lora_A.weight": torch.ones(2, 192), f"{q}.lora_B.weight": torch.ones(192, 2)}
    save_file(factors, tmp_path / "w" / "own.safetensors")
    stage = (
        'width=32\nheight=32\nframes=5\nsteps=2\nloras=[{file="own.safetensors", strength=[1, 0]}]'
    )
    workflow = write("w/w.toml", path="../clip.mp4", stage=stage)
    workflow.write_text(workflow.read_text().replace("tiny-random", "tiny-t2v"))
    assert call("run", workflow).code == 0
    said = call("rerun", "clip.mp4", "-o", "known.mp4")
    assert said.code == 0, said.err
    assert "the frames are the same, bit for bit (all 5)" in said.out
    save_file({name: 2 * one for name, one in factors.items()}, tmp_path / "own.safetensors")
    other = call("rerun", "clip.mp4", "-o", "other.mp4")
    assert other.code == 3
    assert 'stages.generate.loras.0 is not the file that "clip.mp4" was made with' in other.err
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "another machine"))
    (tmp_path / "own.safetensors").unlink()
    lost = call("rerun", "clip.mp4", "-o", "lost.mp4")
    assert lost.code == 3
    assert "own.safetensors does not exist" in lost.err


def test_braces_in_names_mean_themselves(call: Call, write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "{seed}"
    folder.mkdir()
    assert (
        call(
            "run",
            write(path="{{seed}}/{{a}}.mp4"),
        ).code
        == 0
    )
    assert call("rerun", folder / "{a}.mp4").code == 0
    assert (folder / "{a}-rerun.mp4").exists()


def test_another_file_in_the_place_of_a_known_one_is_refused(
    call: Call, write: Write, tmp_path: Path
) -> None:
    own = tmp_path / "models" / "own.safetensors"
    own.parent.mkdir()
    shutil.copy(VAE, own)
    workflow = write(stage="width=32\nheight=32\nframes=5\nsteps=1")
    text = workflow.read_text().replace(
        'family = "tiny-random"', f'family = "tiny-t2v"\nvae = "{own}"'
    )
    workflow.write_text(text)
    assert call("run", workflow).code == 0
    tensors = load_file(own)
    with safe_open(own, "pt") as opened:
        metadata = opened.metadata()
    tensors["conv2.bias"] = tensors["conv2.bias"] + 0.5
    save_file(tensors, own, metadata)
    said = call("rerun", "clip.mp4")
    assert said.code == 3
    assert 'main.vae is not the file that "clip.mp4" was made with' in said.err
    # also where the new video shall say nothing of itself
    silent = call("rerun", "clip.mp4", "-s", "output.provenance=none")
    assert (silent.code, silent.err) == (3, said.err)
    assert call("rerun", "clip.mp4", "--other-files", "-o", "new.mp4").code == 8
