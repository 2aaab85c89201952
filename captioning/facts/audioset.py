"""AudioSet's 527 classes: which are kinds of which.

Source: the ontology of AudioSet (J. F. Gemmeke et al. 2017, research.google.com/audioset), by Google, licensed
CC BY-SA 4.0; changed: only the classes that data are labelled with are here, each below the nearest of them that it is
a kind of. The text `KINDS` stays under that licence.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping

from captioning.metrics.words import words
from captioning.text_scores import stem

CONFIRMED_ABOVE = 0.1
"""A label is confirmed by a class with a higher mean score. Source: ours; with mn04 on ESC-50 85 % of the true labels
that AudioSet has a class for are confirmed, and 1 % of the others."""

KINDS = """
Speech: Male speech, man speaking; Female speech, woman speaking; Child speech, kid speaking; Conversation; Narration,
  monologue; Babbling; Speech synthesizer
Shout: Bellow; Whoop; Yell; Battle cry; Children shouting
Laughter: Baby laughter; Giggle; Snicker; Belly laugh; Chuckle, chortle
Crying, sobbing: Baby cry, infant cry; Whimper
Singing: Choir; Yodeling; Chant; Male singing; Female singing; Child singing; Synthetic singing; Rapping
Chant: Mantra
Breathing: Wheeze; Snoring; Gasp; Pant; Snort
Cough: Throat clearing
Hands: Finger snapping; Clapping
Heart sounds, heartbeat: Heart murmur
Animal: Domestic animals, pets; Livestock, farm animals, working animals; Wild animals
Domestic animals, pets: Dog; Cat
Dog: Bark; Yip; Howl; Bow-wow; Growling; Whimper (dog)
Cat: Growling; Purr; Meow; Hiss; Caterwaul
Livestock, farm animals, working animals: Horse; Cattle, bovinae; Pig; Goat; Sheep; Fowl
Horse: Clip-clop; Neigh, whinny
Cattle, bovinae: Moo; Cowbell
Pig: Oink
Goat: Bleat
Sheep: Bleat
Fowl: Chicken, rooster; Turkey; Duck; Goose
Chicken, rooster: Cluck; Crowing, cock-a-doodle-doo
Turkey: Gobble
Duck: Quack
Goose: Honk
Wild animals: Roaring cats (lions, tigers); Bird; Canidae, dogs, wolves; Rodents, rats, mice; Insect; Frog; Snake;
  Whale vocalization
Roaring cats (lions, tigers): Growling; Roar
Bird: Bird vocalization, bird call, bird song; Pigeon, dove; Crow; Owl; Bird flight, flapping wings
Bird vocalization, bird call, bird song: Chirp, tweet; Squawk
Pigeon, dove: Coo
Crow: Caw
Owl: Hoot
Canidae, dogs, wolves: Howl; Growling
Rodents, rats, mice: Mouse; Patter
Insect: Cricket; Mosquito; Fly, housefly; Bee, wasp, etc.
Fly, housefly: Buzz
Bee, wasp, etc.: Buzz
Frog: Croak
Snake: Hiss; Rattle
Music: Musical instrument; Pop music; Hip hop music; Rock music; Rhythm and blues; Soul music; Reggae; Country; Funk;
  Folk music; Middle Eastern music; Jazz; Disco; Classical music; Electronic music; Music of Latin America; Blues;
  Music for children; New-age music; Vocal music; Music of Africa; Christian music; Music of Asia; Ska; Traditional
  music; Independent music; Song; Background music; Theme music; Jingle (music); Soundtrack music; Lullaby; Video game
  music; Christmas music; Dance music; Wedding music; Happy music; Funny music; Sad music; Tender music; Exciting
  music; Angry music; Scary music
Musical instrument: Choir; Plucked string instrument; Keyboard (musical); Percussion; Orchestra; Brass instrument;
  Bowed string instrument; Wind instrument, woodwind instrument; Harp; Bell; Harmonica; Accordion; Bagpipes;
  Didgeridoo; Shofar; Theremin; Singing bowl; Scratching (performance technique)
Plucked string instrument: Guitar; Banjo; Sitar; Mandolin; Zither; Ukulele
Guitar: Electric guitar; Bass guitar; Acoustic guitar; Steel guitar, slide guitar; Tapping (guitar technique); Strum
Keyboard (musical): Piano; Organ; Synthesizer; Harpsichord
Piano: Electric piano
Organ: Electronic organ; Hammond organ
Synthesizer: Sampler
Percussion: Cowbell; Drum kit; Drum; Cymbal; Wood block; Tambourine; Rattle (instrument); Gong; Tubular bells; Mallet
  percussion
Drum kit: Drum machine
Drum: Snare drum; Bass drum; Timpani; Tabla
Snare drum: Rimshot; Drum roll
Cymbal: Hi-hat
Rattle (instrument): Maraca
Mallet percussion: Marimba, xylophone; Glockenspiel; Vibraphone; Steelpan
Brass instrument: French horn; Trumpet; Trombone
Bowed string instrument: String section; Violin, fiddle; Cello; Double bass
Violin, fiddle: Pizzicato
Wind instrument, woodwind instrument: Flute; Saxophone; Clarinet
Bell: Cowbell; Church bell; Jingle bell; Bicycle bell; Tuning fork; Chime; Change ringing (campanology)
Chime: Wind chime
Hip hop music: Beatboxing
Rock music: Heavy metal; Punk rock; Grunge; Progressive rock; Rock and roll; Psychedelic rock
Country: Swing music; Bluegrass
Classical music: Opera
Electronic music: House music; Techno; Dubstep; Drum and bass; Electronica; Electronic dance music; Ambient music;
  Trance music
Music of Latin America: Salsa music; Flamenco
Vocal music: Chant; Beatboxing; A capella
Music of Africa: Afrobeat
Christian music: Gospel music
Music of Asia: Carnatic music; Music of Bollywood
Wind: Rustling leaves; Wind noise (microphone)
Thunderstorm: Thunder
Water: Rain; Stream; Waterfall; Ocean; Steam; Gurgling
Rain: Raindrop; Rain on surface
Ocean: Waves, surf
Steam: Hiss
Fire: Crackle
Vehicle: Boat, Water vehicle; Motor vehicle (road); Rail transport; Aircraft; Bicycle; Skateboard
Boat, Water vehicle: Sailboat, sailing ship; Rowboat, canoe, kayak; Motorboat, speedboat; Ship
Motor vehicle (road): Car; Truck; Bus; Emergency vehicle; Motorcycle; Traffic noise, roadway noise
Car: Vehicle horn, car horn, honking; Car alarm; Power windows, electric windows; Skidding; Tire squeal; Car passing
  by; Race car, auto racing
Vehicle horn, car horn, honking: Toot
Truck: Air brake; Air horn, truck horn; Reversing beeps; Ice cream truck, ice cream van
Emergency vehicle: Police car (siren); Ambulance (siren); Fire engine, fire truck (siren)
Rail transport: Train; Railroad car, train wagon; Train wheels squealing; Subway, metro, underground
Train: Train whistle; Train horn
Aircraft: Aircraft engine; Helicopter; Fixed-wing aircraft, airplane
Aircraft engine: Jet engine; Propeller, airscrew
Bicycle: Bicycle bell
Engine: Jet engine; Light engine (high frequency); Medium engine (mid frequency); Heavy engine (low frequency); Engine
  knocking; Engine starting; Idling; Accelerating, revving, vroom
Light engine (high frequency): Dental drill, dentist's drill; Lawn mower; Chainsaw
Door: Doorbell; Sliding door; Slam; Knock; Tap; Squeak
Doorbell: Ding-dong
Toothbrush: Electric toothbrush
Typing: Typewriter; Computer keyboard
Alarm: Bicycle bell; Vehicle horn, car horn, honking; Car alarm; Air horn, truck horn; Doorbell; Telephone; Alarm
  clock; Siren; Buzzer; Smoke detector, smoke alarm; Fire alarm; Foghorn; Whistle
Telephone: Telephone bell ringing; Ringtone; Telephone dialing, DTMF; Dial tone; Busy signal
Siren: Police car (siren); Ambulance (siren); Fire engine, fire truck (siren); Civil defense siren
Whistle: Steam whistle
Mechanisms: Ratchet, pawl; Clock; Gears; Pulleys; Sewing machine; Mechanical fan; Air conditioning; Cash register;
  Printer; Camera
Clock: Tick; Tick-tock
Camera: Single-lens reflex camera
Tools: Hammer; Jackhammer; Sawing; Filing (rasp); Sanding; Power tool
Power tool: Drill
Drill: Dental drill, dentist's drill
Explosion: Gunshot, gunfire; Fireworks; Burst, pop; Eruption; Boom
Gunshot, gunfire: Machine gun; Fusillade; Artillery fire; Cap gun
Fireworks: Firecracker
Wood: Chop; Splinter; Crack
Glass: Chink, clink; Shatter
Liquid: Splash, splatter; Squish; Drip; Pour; Fill (with liquid); Spray; Pump (liquid); Stir; Boiling
Splash, splatter: Slosh
Pour: Trickle, dribble; Gush
Arrow: Whoosh, swoosh, swish; Thump, thud
Thump, thud: Thunk
Effects unit: Chorus effect
Clicking: Clip-clop; Tick; Clickety-clack
Sine wave: Harmonic; Chirp tone
Noise: Hubbub, speech noise, speech babble; Environmental noise; Static; Mains hum; Distortion; Sidetone; Cacophony;
  White noise; Pink noise; Throbbing; Vibration
-: Screaming; Whispering; Wail, moan; Sigh; Humming; Groan; Grunt; Whistling; Sneeze; Sniff; Run; Shuffle; Walk,
  footsteps; Chewing, mastication; Biting; Gargling; Stomach rumble; Burping, eructation; Hiccup; Fart; Cheering;
  Applause; Chatter; Crowd; Children playing; Cupboard open or close; Drawer open or close; Dishes, pots, and pans;
  Cutlery, silverware; Chopping (food); Frying (food); Microwave oven; Blender; Water tap, faucet; Sink (filling or
  washing); Bathtub (filling or washing); Hair dryer; Toilet flush; Vacuum cleaner; Zipper (clothing); Keys jangling;
  Coin (dropping); Scissors; Electric shaver, electric razor; Shuffling cards; Writing; Sonar; Electronic tuner;
  Basketball bounce; Bang; Slap, smack; Whack, thwack; Smash, crash; Breaking; Bouncing; Whip; Flap; Scratch; Scrape;
  Rub; Roll; Crushing; Crumpling, crinkling; Tearing; Beep, bleep; Ping; Ding; Clang; Squeal; Creak; Rustle; Whir;
  Clatter; Sizzle; Rumble; Plop; Jingle, tinkle; Hum; Zing; Boing; Crunch; Silence; Sound effect; Pulse; Inside, small
  room; Inside, large room or hall; Inside, public space; Outside, urban or manmade; Outside, rural or natural;
  Reverberation; Echo; Television; Radio; Field recording
"""
"""A class, then its kinds; a line that begins with blanks goes on with the one before. `-` are classes that are neither
above nor below another."""


@functools.cache
def above() -> Mapping[str, frozenset[str]]:
    """Class -> every class that it is a kind of, nearest and farther ones; empty for those at the top."""
    parents: dict[str, set[str]] = {}
    for line in KINDS.strip().replace("\n  ", " ").splitlines():
        parent, _, kinds = line.partition(": ")
        if parent != "-":
            parents.setdefault(parent, set())
        for kind in kinds.split("; "):
            parents.setdefault(kind, set()).update(() if parent == "-" else (parent,))

    def all_above(name: str) -> frozenset[str]:
        return frozenset(parents[name]).union(*(all_above(parent) for parent in parents[name]))

    return {name: all_above(name) for name in parents}


def narrowest(names: Iterable[str]) -> list[str]:
    """Classes without those of which a kind is there too, in their order: of Animal, Dog, Bark only Bark.

    Args:
        names: Names of classes; one that AudioSet does not have stays.
    """
    given = list(names)
    covered = frozenset().union(*(above().get(name, frozenset()) for name in given))
    return [name for name in given if name not in covered]


def classes_of(label: str) -> frozenset[str]:
    """The classes that a list's label is about, and all kinds of them: of `dog barking` Dog, Bark, Yip and others.

    A class is named when all words of one of its names stand in the label, up to their endings. Of those the ones with
    the most words count: `car engine starting` is Engine starting, neither Car nor Engine.

    Source: ours; of VGGSound's 309 labels it finds classes for 224. Words that mean two things are not told apart.

    Args:
        label: A name as lists give them, as `playing_acoustic guitar`.
    """
    said = frozenset(stem(word) for word in words(label.replace("_", " ")))
    found: dict[int, set[str]] = {}
    for word in said:
        for name, spelled in _spellings().get(word, ()):
            if spelled <= said:
                found.setdefault(len(spelled), set()).add(name)
    named = found[max(found)] if found else set()
    return frozenset(named).union(name for name, higher in above().items() if higher & named)


def named_in(sentence: str) -> frozenset[str]:
    """The classes that a sentence names: those of which one name stands in it, word after word, up to their endings.

    Source: ours. Words that mean two things are not told apart (`running water` names Run), so it is for counting.

    Args:
        sentence: As `a dog barks while rain falls`.
    """
    said = [stem(word) for word in words(sentence)]
    found = set()
    for start, first in enumerate(said):
        for name, stems in _runs().get(first, ()):
            if said[start : start + len(stems)] == list(stems):
                found.add(name)
    return frozenset(found)


def unsupported(named: Iterable[str], known: Iterable[str]) -> list[str]:
    """The classes of the one that are neither among the others nor above nor below one of them, sorted.

    Args:
        named: Classes that a sentence names.
        known: Classes that are known of the sound.
    """
    there = set(known)
    near = there.union(*(above().get(name, frozenset()) for name in there))
    return sorted(name for name in named if name not in near and not above().get(name, frozenset()) & there)


@functools.cache
def _runs() -> Mapping[str, list[tuple[str, tuple[str, ...]]]]:
    """First stem -> classes and the stems of one of their names, in order."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, stems in _spelled():
        found.setdefault(stems[0], []).append((name, stems))
    return found


@functools.cache
def _spellings() -> Mapping[str, list[tuple[str, frozenset[str]]]]:
    """First stem -> classes and the stems of one of their names."""
    found: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for name, stems in _spelled():
        found.setdefault(stems[0], []).append((name, frozenset(stems)))
    return found


def _spelled() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every class with the stems of each of its names; what stands in brackets is left out."""
    for name in above():
        for part in re.sub(r"\([^)]*\)", "", name).split(","):
            if stems := tuple(stem(word) for word in words(part)):
                yield name, stems
