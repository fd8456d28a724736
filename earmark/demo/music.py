"""Short pieces that the demo publishes, made up on the spot, real enough for a tagger to hear what they want to be."""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng

from earmark.demo import synth
from earmark.demo.stage import Stage, Stereo, mix
from earmark.demo.synth import RATE, Sound, hertz, times


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece that can be composed: its name, the first part of its artist's handle, the mood feed it is made for."""

    title: str
    artist: str
    mood: str | None
    compose: Callable[[Generator], Stereo]


def soft_pad(source: Generator) -> Stereo:
    """Slow chords of detuned saws behind a soft filter, a ripple of plucked synth, a muffled heartbeat: ambient."""
    stage = Stage(36.0, tempo=60)
    chords = ((36, 55, 59, 64, 71), (33, 55, 60, 64, 71), (41, 57, 60, 64, 67), (38, 57, 60, 65, 69))
    for turn, start in enumerate(range(0, 36, 6)):
        chord = chords[turn % 4]
        for voice, note in enumerate(chord):
            raw = synth.supersaw(hertz(note), 9.0, source, voices=7, spread=0.02)
            swell = 1 + 0.4 * np.sin(2 * np.pi * source.uniform(0.08, 0.2) * times(9.0) + source.uniform(0, 6))
            tone = synth.band(raw, 50.0, 520.0, order=1) * swell + 0.5 * np.sin(2 * np.pi * hertz(note) * times(9.0))
            stage.play(synth.fade(tone, 3.5, 3.5), start, gain=0.3, pan=(voice - 2) / 3)
        for step in range(24):
            note = chord[1 + 2 * step % 4] + 12
            raw = synth.supersaw(hertz(note), 0.5, source, voices=3) * np.exp(-times(0.5) * 6)
            ripple = synth.fade(synth.band(raw, 100.0, 1200.0 + 600 * np.sin(step / 5)), 0.005, 0.1)
            stage.play(ripple, start + step / 4, pan=0.5 * (-1) ** step)
        for beat in range(6):
            stage.play(synth.kick(0.3, low=45.0, high=90.0, click=0.0), start + beat, gain=1.3)
    stage.shape(lambda side: synth.echo(synth.band(side, 45.0, 1400.0), 5.0, 0.6, source, dark=1800.0))
    return stage.master(peak=0.4, fade_seconds=3.0)


def piano_nocturne(source: Generator) -> Stereo:
    """Broken chords and a sparse melody on a soft piano."""
    stage = Stage(36.0, tempo=66)
    chords = ((45, 52, 57, 60, 64), (41, 48, 53, 57, 60), (48, 55, 60, 64, 67), (43, 50, 55, 59, 62))
    order = (0, 2, 3, 4, 3, 2, 4, 1)
    melody = (76, 0, 74, 72, 0, 69, 72, 0, 71, 0, 67, 69, 0, 0, 64, 0)
    strings: dict[tuple[int, float], Sound] = {}

    def strike(note: int, beat: float, *, force: float, gain: float) -> None:
        sound = strings.get((note, force))
        if sound is None:
            sound = strings[note, force] = synth.piano(hertz(note), 3.5, source, force=force)
        late = source.uniform(0, 0.02)
        stage.play(sound, beat + late, gain=gain * source.uniform(0.8, 1.1), pan=(note - 58) / 40)

    for beat in range(stage.beats - 2):
        chord = chords[beat // 4 % 4]
        for half in (0, 1):
            strike(chord[order[(beat % 4) * 2 + half]], beat + half / 2, force=0.35, gain=0.55)
        if melody[beat % 16]:
            strike(melody[beat % 16], beat, force=0.5, gain=0.8)
    stage.shape(lambda side: synth.echo(side, 2.2, 0.22, source, dark=3500.0))
    return stage.master(peak=0.5, fade_seconds=2.0)


def plucked_guitar(source: Generator) -> Stereo:
    """A fingerpicked nylon guitar in E minor with a tune on top."""
    stage = Stage(36.0, tempo=80)
    chords = [(40, 52, 55, 59, 64), (45, 52, 57, 60, 64), (47, 54, 57, 63, 66), (40, 52, 55, 59, 64)]
    chords += [(48, 55, 60, 64, 67), (43, 50, 55, 59, 67), (45, 52, 57, 60, 69), (47, 54, 59, 63, 66)]
    tune = [71, 76, 79, 76, 72, 76, 81, 79, 78, 75, 71, 69, 67, 71, 76, 71]
    tune += [79, 76, 72, 76, 74, 71, 67, 71, 72, 69, 76, 72, 71, 75, 78, 75]
    body = (102.0, 205.0, 390.0)  # Hz, where the box of a guitar resonates

    def pick(note: int, beat: float, gain: float) -> None:
        string = synth.pluck(hertz(note), 2.5, source, bright=source.uniform(0.15, 0.35), ring=0.9993)
        loud = gain * source.uniform(0.8, 1.15)
        stage.play(synth.fade(string, 0.002, 0.3), _late(source, beat), gain=loud, pan=(note - 58) / 60)

    for bar in range(stage.beats // 4):
        chord = chords[bar % 8]
        pick(chord[0], bar * 4, 1.0)
        for eighth, finger in enumerate((2, 3, 1, 3, 2, 3, 1, 3)):
            pick(chord[finger], bar * 4 + eighth / 2, 0.35)
        for beat in range(4):
            pick(tune[(bar * 4 + beat) % 32], bar * 4 + beat, 0.8)

    def resonate(side: Sound) -> Sound:
        boxed = side + sum(synth.band(side, low * 0.9, low * 1.1) for low in body)
        return synth.echo(synth.band(boxed, 70.0, 3500.0, order=1), 1.8, 0.3, source)

    stage.shape(resonate)
    return stage.master(peak=0.5)


def four_on_the_floor(source: Generator) -> Stereo:
    """House at 126 beats a minute: bass drum on each beat, hats between, off-beat bass, stabs of minor ninths."""
    drums, bass, stabs = (Stage(38.0, tempo=126) for _ in range(3))
    roots = (33, 33, 36, 31)
    hats = [synth.cymbal(source, 0.12, 70.0), synth.cymbal(source, 0.3, 14.0)]
    boom, hands = synth.kick(), synth.clap(source)
    for beat in range(drums.beats):
        drums.play(boom, beat, gain=1.0)
        drums.play(hats[1], beat + 0.5, gain=0.42, pan=0.1)
        for sixteenth in (0.25, 0.75):
            drums.play(hats[0], beat + sixteenth, gain=0.22, pan=-0.2)
        if beat % 2 == 1:
            drums.play(hands, beat, gain=0.6)
        root = roots[beat // 8 % 4]
        for offset, note in ((0.5, root), (0.75, root + 12)):
            raw = synth.saw(hertz(note), 0.2) + 0.5 * np.sign(np.sin(2 * np.pi * hertz(note) * times(0.2)))
            pulse = synth.fade(synth.band(raw * np.exp(-times(0.2) * 7), 40.0, 750.0), 0.004, 0.04)
            bass.play(pulse, beat + offset)
        for offset in {0: (0.75,), 1: (0.5,), 2: (0.25, 0.75), 3: (0.5,)}[beat % 4]:
            chord = [root + 24 + step for step in (0, 3, 7, 10, 14)]
            raw = np.sum([synth.supersaw(hertz(note), 0.28, source, spread=0.008) for note in chord], axis=0)
            stab = synth.fade(synth.band(raw * np.exp(-times(0.28) * 9), 200.0, 3500.0), 0.003, 0.08)
            stabs.play(stab, beat + offset, pan=0.2 * (-1) ** beat)
    stabs.shape(lambda side: synth.echo(side, 1.2, 0.25, source))
    duck = 1 - 0.6 * np.exp(-((times(38.0) % drums.beat) / 0.09))  # the bass drum pushes everything else down
    for stage in (bass, stabs):
        stage.shape(lambda side: side * duck)
    return mix((drums, 1.0), (bass, 0.55), (stabs, 0.42)).master(peak=0.9, drive=1.8, fade_seconds=0.5)


def distorted_riff(source: Generator) -> Stereo:
    """Metal at 168 beats a minute: palm-muted low E under power chords, four guitars, two bass drums.

    No two strokes are alike: what repeats exactly is heard as a machine, and called electronic.
    """
    seconds, tempo = 36.0, 168
    guitars = [Stage(seconds, tempo=tempo) for _ in range(4)]
    bass, drums = Stage(seconds, tempo=tempo), Stage(seconds, tempo=tempo)
    mute, accent, chord = (0.56, 0.98, 0.5), (0.55, 0.999, 0.8), (1.02, 0.9995, 0.9)  # beats, ring, brightness
    riff = [(0.0, 28, mute), (0.5, 28, mute), (0.75, 28, mute), (1.0, 31, accent), (1.5, 28, mute), (1.75, 28, mute)]
    riff += [(2.0, 33, accent), (2.5, 28, mute), (2.75, 28, mute), (3.0, 34, accent), (3.5, 33, accent)]
    chorus = [(0.0, 28, chord), (1.0, 28, chord), (2.0, 31, chord), (3.0, 33, chord)]
    for bar in range(bass.beats // 4):
        loud = bar % 8 >= 4
        for offset, note, (beats, ring, bright) in chorus if loud else riff:
            length = beats * bass.beat
            for guitar in guitars:
                detune = 1 + 0.006 * source.normal()
                for step in (12, 19, 24):
                    string = synth.pluck(hertz(note + step) * detune, length, source, bright=bright, ring=ring)
                    guitar.play(string, _late(source, bar * 4 + offset), gain=1 + 0.1 * source.normal())
            low = synth.pluck(hertz(note), length, source, bright=0.8, ring=0.998)
            bass.play(np.tanh(3 * synth.band(low, 40.0, 1500.0)), _late(source, bar * 4 + offset))
        _beat_metal(drums, source, bar, double=loud)
    drums.shape(lambda side: synth.echo(side, 0.7, 0.35, source, dark=7000.0))
    wall = Stage(seconds, tempo=tempo)
    for number, guitar in enumerate(guitars):
        amplified = synth.amplify(guitar.mono(), gain=10 + 2 * number, bright=5200.0 + 400 * number)
        wall.play(amplified, 0.0, pan=0.9 * (-1) ** number)
    wall.shape(lambda side: synth.echo(side, 0.35, 0.12, source, dark=6000.0))
    return mix((wall, 1.0), (bass, 0.4), (drums, 0.7)).master(peak=0.9, drive=1.3, fade_seconds=0.3)


def _beat_metal(drums: Stage, source: Generator, bar: int, *, double: bool) -> None:
    """One bar of drums; `double` keeps both feet going under the snare."""
    for eighth in range(8):
        beat = bar * 4 + eighth / 2
        backbeat = eighth in (2, 6)
        if backbeat:
            drums.play(synth.snare(source), _late(source, beat), gain=1 + 0.1 * source.normal())
        for sixteenth in (0.25,) if backbeat and not double else (0.0, 0.25):
            boom = synth.kick(0.25, low=55.0, high=source.uniform(200.0, 240.0), click=1.0)
            drums.play(boom, _late(source, beat + sixteenth), gain=0.75 + 0.08 * source.normal())
        ride = synth.cymbal(source, 0.6, 7.0, low=4500.0)
        drums.play(ride, _late(source, beat), gain=0.3 + 0.04 * source.normal(), pan=0.3)
    if bar % 2 == 0:
        drums.play(synth.cymbal(source, 2.5, 2.2, low=3500.0), bar * 4, gain=0.55, pan=-0.3)


def _late(source: Generator, beat: float) -> float:
    """The beat as a person hits it."""
    return beat + abs(float(source.normal(0, 0.01)))


def string_chorale(source: Generator) -> Stereo:
    """Bowed strings in four parts over slow harmonies: as classical as a machine without a hall gets."""
    stage = Stage(35.0, tempo=72)
    bars = [(38, 57, 62, 65), (43, 55, 62, 70), (45, 57, 61, 64), (38, 57, 62, 65), (46, 58, 62, 65), (43, 58, 62, 67)]
    bars += [(45, 57, 64, 67), (45, 57, 61, 64), (38, 57, 62, 65), (38, 57, 62, 66)]
    for bar, chord in enumerate(bars):
        for voice, note in enumerate(chord):
            sound = synth.bowed(hertz(note), 4 * stage.beat + 0.3, source)
            stage.play(sound, bar * 4, gain=0.8, pan=(0.6, 0.2, -0.2, -0.5)[voice])
        tune = (chord[3] + 12, chord[3] + 10, chord[2] + 12, chord[3] + 12)
        for beat, note in enumerate(tune):
            stage.play(synth.bowed(hertz(note), stage.beat + 0.15, source), bar * 4 + beat, gain=0.9, pan=-0.4)
    stage.shape(lambda side: synth.echo(side, 2.4, 0.35, source, dark=5000.0))
    return stage.master(peak=0.55, fade_seconds=2.0)


def wind_noise(source: Generator) -> Stereo:
    """No music at all: low noise that swells like wind in a chimney."""
    stage = Stage(32.0)
    time = times(32.0)
    for pan in (-0.7, 0.7):
        gusts = 0.6 - 0.4 * np.cos(2 * np.pi * time / 6.0 + source.uniform(0, 1))
        noise = synth.band(source.standard_normal(len(time)), 60.0, 250.0)
        stage.play(noise * gusts, 0.0, pan=pan)
    return stage.master(peak=0.4)


PIECES = (
    Piece("Slow Tide", "ada", "calm", soft_pad),
    Piece("Night Shift", "bob", "dance-floor", four_on_the_floor),
    Piece("Iron Teeth", "cyd", "heavy", distorted_riff),
    Piece("Wooden Steps", "ada", None, plucked_guitar),
    Piece("Small Hours", "bob", "calm", piano_nocturne),
    Piece("Chorale for Nobody", "ada", None, string_chorale),
    Piece("Weather", "cyd", None, wind_noise),
)


def compose(piece: Piece, *, seed: int = 1) -> Stereo:
    """The samples of a piece; the same seed gives the same samples."""
    return piece.compose(default_rng(seed))


def encode(samples: Stereo, path: Path) -> None:
    """Write a 16-bit WAV file, clipped at full scale."""
    whole = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(whole.tobytes())
